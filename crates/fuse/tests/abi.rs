//! Our structures against the system's `linux/fuse.h`, as a C compiler sees it.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use fuse_server::abi::{self, StructLayout, layouts};

const HEADER: &str = "/usr/include/linux/fuse.h";

/// Fields that older headers call otherwise, or do not split off.
fn c_field(layout: &StructLayout, field: &str, minor: u32) -> Option<String> {
    let field = field.strip_prefix("r#").unwrap_or(field);
    Some(match (layout.c_name, field) {
        ("fuse_open_out", "backing_id") if minor < 40 => "padding".to_owned(),
        ("fuse_init_out", "max_stack_depth" | "request_timeout" | "unused") if minor < 43 => {
            return None;
        }
        _ => field.to_owned(),
    })
}

/// Structures whose size has not changed since, though fields were named.
fn known(layout: &StructLayout, minor: u32) -> bool {
    layout.since <= minor || matches!(layout.c_name, "fuse_open_out" | "fuse_init_out")
}

fn header_minor() -> Option<u32> {
    let text = std::fs::read_to_string(HEADER).ok()?;
    let line = text.lines().find(|line| line.contains("define FUSE_KERNEL_MINOR_VERSION"))?;
    line.split_whitespace().last()?.parse().ok()
}

fn program(minor: u32) -> String {
    let mut c = String::from(
        "#include <stdio.h>\n#include <stddef.h>\n#include <sys/ioctl.h>\n#include <linux/fuse.h>\nint main(void) {\n",
    );
    for layout in layouts().filter(|layout| known(layout, minor)) {
        let name = layout.c_name;
        let _ = writeln!(c, "printf(\"{name} %zu\\n\", sizeof(struct {name}));");
        for field in layout.fields {
            if let Some(c_name) = c_field(layout, field.name, minor) {
                let _ = writeln!(
                    c,
                    "printf(\"{name}.{} %zu\\n\", offsetof(struct {name}, {c_name}));",
                    field.name
                );
            }
        }
    }
    let _ = writeln!(c, "printf(\"DEV_IOC_CLONE %u\\n\", (unsigned)FUSE_DEV_IOC_CLONE);");
    c.push_str("return 0; }\n");
    c
}

fn ours(minor: u32) -> String {
    let mut text = String::new();
    for layout in layouts().filter(|layout| known(layout, minor)) {
        let _ = writeln!(text, "{} {}", layout.c_name, layout.size);
        for field in layout.fields {
            if c_field(layout, field.name, minor).is_some() {
                let _ = writeln!(text, "{}.{} {}", layout.c_name, field.name, field.offset);
            }
        }
    }
    let _ = writeln!(text, "DEV_IOC_CLONE {}", abi::DEV_IOC_CLONE);
    text
}

#[test]
fn structures_agree_with_the_system_header() {
    let Some(minor) = header_minor() else {
        println!("skipped: no {HEADER} (install linux-libc-dev)");
        return;
    };
    if Command::new("cc").arg("--version").output().is_err() {
        println!("skipped: no C compiler `cc`");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (source, binary) = (dir.path().join("abi.c"), dir.path().join("abi"));
    std::fs::write(&source, program(minor)).unwrap();
    compile(&source, &binary);
    let output = Command::new(&binary).output().unwrap();
    assert!(output.status.success());
    let theirs = String::from_utf8(output.stdout).unwrap();
    for (theirs, ours) in theirs.lines().zip(ours(minor).lines()) {
        assert_eq!(theirs, ours, "left: {HEADER} (7.{minor}), right: this library");
    }
    assert_eq!(theirs.lines().count(), ours(minor).lines().count());
    assert!(theirs.lines().count() > 200, "too little was compared");
}

fn compile(source: &Path, binary: &Path) {
    let output = Command::new("cc").arg("-o").arg(binary).arg(source).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn ioctl_numbers_are_the_usual_ones() {
    if cfg!(target_arch = "x86_64") {
        assert_eq!(abi::DEV_IOC_CLONE, 0x8004_e500);
        assert_eq!(abi::DEV_IOC_BACKING_OPEN, 0x4010_e501);
        assert_eq!(abi::DEV_IOC_BACKING_CLOSE, 0x4004_e502);
    }
}
