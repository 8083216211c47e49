//! The documents name the tests that hold what they promise; these must exist.

use std::fs;
use std::path::Path;

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
