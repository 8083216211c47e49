//! Why an option list is refused.
#![forbid(unsafe_code)]

/// Why an option list is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionError {
    /// No such option.
    #[error("unknown option '{name}'{}", suggestion(name, .like))]
    Unknown {
        /// As it was written.
        name: String,
        /// The nearest known one.
        like: Option<&'static str>,
    },
    /// `name` alone where a value is needed.
    #[error("option '{name}' needs a value: {name}={value}")]
    NoValue {
        /// The option.
        name: &'static str,
        /// What the value is.
        value: &'static str,
    },
    /// `name=value` where none is known.
    #[error("option '{0}' takes no value")]
    Value(&'static str),
    /// A value that the option does not know.
    #[error("option '{name}' does not know the value '{value}'; {}", allowed(known))]
    BadValue {
        /// The option.
        name: &'static str,
        /// As it was written.
        value: String,
        /// What it knows, separated by `|`, or in words.
        known: &'static str,
    },
    /// A double quote without its partner.
    #[error("a double quote is not closed in '{0}'")]
    Quote(String),
    /// The same option with two values.
    #[error("option '{0}' is given twice, with different values")]
    Twice(&'static str),
}

/// Options of other file systems, and how the same is said here.
const FOREIGN: [(&[&str], &str); 6] = [
    (
        &["uid", "gid"],
        "squash_to_uid=UID and squash_to_gid=GID show every object with an owner of your \
         choice",
    ),
    (
        &["umask", "fmask", "dmask"],
        "modes are those of base and storage, and chmod in the mount changes them",
    ),
    (&["lowerdir"], "the layers are given as base=A:B:C, the uppermost first"),
    (&["upperdir"], "the storage is given as sto=DIR"),
    (&["workdir"], "none is needed: the storage, sto=DIR, is all"),
    (&["loop"], "mount the image first (mount -o loop,ro IMAGE DIR) and give DIR as base"),
];

fn allowed(known: &str) -> String {
    match known.contains('|') {
        true => format!("it is one of {}", known.replace('|', ", ")),
        false => format!("it takes {known}"),
    }
}

fn suggestion(name: &str, like: &Option<&'static str>) -> String {
    if let Some((_, text)) = FOREIGN.iter().find(|(names, _)| names.contains(&name)) {
        return format!(": {text}");
    }
    like.map_or_else(String::new, |like| format!(" (did you mean '{like}'?)"))
}
