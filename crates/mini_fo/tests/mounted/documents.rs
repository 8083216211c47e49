//! The documents name the tests that hold what they promise; these must exist.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn every_test_that_a_document_names_exists() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for document in ["SEMANTICS.md", "RECIPES.md"] {
        let text = fs::read_to_string(here.join("../../docs").join(document)).expect(document);
        // Every second piece stands between back quotes.
        for piece in text.split('`').skip(1).step_by(2) {
            let Some((module, name)) = piece.split_once("::") else {
                continue;
            };
            let file = here.join("tests/mounted").join(format!("{module}.rs"));
            let source = fs::read_to_string(&file).unwrap_or_default();
            assert!(source.contains(&format!("fn {name}(")), "{document} names {piece}");
            count += 1;
        }
    }
    assert!(count > 40, "only {count} tests are named");
}

/// What the documents call a case of the boot tests is one, and what is none is refused:
/// it was once told to have passed.
#[test]
fn boot_tests_are_called_by_their_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let boot = |words: &[&str]| {
        let run = Command::new(root.join("scripts/boot.sh")).args(words).output().expect("boot.sh");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (run.status.code(), text(run.stdout), text(run.stderr))
    };
    let (status, cases, _) = boot(&["--list"]);
    assert_eq!(status, Some(0));
    for wrong in ["nosuch", "--nosuch", "", "basic persists"] {
        let (status, said, error) = boot(&[wrong]);
        assert_eq!((status, said.as_str()), (Some(2), ""), "{wrong}: {error}");
        assert!(error.contains(wrong), "{wrong}: {error}");
    }
    let (_, _, error) = boot(&["basic", "nosuch"]);
    assert!(cases.lines().all(|case| error.contains(case)), "{error}");
    let (status, usage, _) = boot(&["--help"]);
    assert_eq!(status, Some(0));
    assert!(usage.contains("scripts/boot.sh [--quick] [CASE...]"), "{usage}");

    let mut count = 0;
    for document in ["SEMANTICS.md", "RECIPES.md", "ARCHITECTURE.md", "CONFORMANCE.md"] {
        let text = fs::read_to_string(root.join("docs").join(document)).expect(document);
        for piece in text.split('`').skip(1).step_by(2) {
            let Some(named) = piece.strip_prefix("scripts/boot.sh ") else {
                continue;
            };
            for case in named.split_whitespace() {
                assert!(cases.lines().any(|known| known == case), "{document} names {case}");
                count += 1;
            }
        }
    }
    assert!(count > 4, "only {count} cases are named");
}
