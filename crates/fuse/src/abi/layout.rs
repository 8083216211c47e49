//! How structures are defined, and a description of each for comparison with
//! the C header.

/// A field: its name in C and its offset in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in the kernel's header.
    pub name: &'static str,
    /// Offset in bytes.
    pub offset: usize,
}

/// A structure as this library lays it out.
#[derive(Clone, Copy, Debug)]
pub struct StructLayout {
    /// `fuse_...`, as in the kernel's header.
    pub c_name: &'static str,
    /// Minor version that brought the structure into its present size.
    pub since: u32,
    /// Size in bytes.
    pub size: usize,
    /// All fields, in order.
    pub fields: &'static [Field],
}

/// All structures of the protocol.
pub fn layouts() -> impl Iterator<Item = &'static StructLayout> {
    super::structs::LAYOUTS.iter().chain(super::requests::LAYOUTS)
}

/// Defines `repr(C)` structures of integers without padding, with their size
/// asserted, and lists them in `LAYOUTS`.
macro_rules! abi_structs {
    ($(
        $(#[$doc:meta])*
        $name:ident = $c_name:literal, $size:literal bytes, since $since:literal {
            $( $field:ident : $type:ty, )*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[expect(missing_docs, reason = "fields are named as in the kernel's header")]
            #[repr(C)]
            #[derive(Clone, Copy, Debug)]
            pub struct $name { $( pub $field: $type, )* }

            // SAFETY: repr(C), integers and arrays of integers only; the
            // assertion below shows that there is no padding.
            unsafe impl crate::wire::Pod for $name {}

            const _: () = {
                assert!(size_of::<$name>() == $size);
                assert!(0 $( + size_of::<$type>() )* == $size, "padding");
            };

            impl Default for $name {
                fn default() -> Self {
                    crate::wire::zeroed()
                }
            }
        )*

        pub(super) static LAYOUTS: &[super::layout::StructLayout] = &[ $(
            super::layout::StructLayout {
                c_name: $c_name,
                since: $since,
                size: $size,
                fields: &[ $( super::layout::Field {
                    name: stringify!($field),
                    offset: std::mem::offset_of!($name, $field),
                }, )* ],
            },
        )* ];
    };
}

pub(super) use abi_structs;
