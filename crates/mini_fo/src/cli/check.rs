//! `mini_fo check`.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::path::Path;

use mini_fo_core::OpenOptions;

use crate::cli::args::CheckArgs;
use crate::exit::{Failure, code, shown};
use crate::request;
use crate::serve;
use crate::stack::{self, Layers};

/// Prints what is wrong with a storage, a line each.
///
/// # Errors
/// Something was found; or base or storage cannot be read, or a live mount
/// writes to the storage.
pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    let mut paths = stack::split(args.base.as_os_str());
    paths.extend(args.under.iter().cloned());
    let dialects = args.dialect.as_deref().map_or_else(|| Ok(Vec::new()), stack::dialects)?;
    let layers = Layers::new(paths, &dialects, Path::to_path_buf).unwrap_or_default();
    let meta_name = args.meta_name.as_deref().map(request::meta_name).transpose()?;
    let options = OpenOptions {
        storage: args.storage.clone(),
        meta_name: meta_name.unwrap_or_default(),
        ..layers.options()
    };
    let found = mini_fo_core::examine(&options).map_err(serve::refusal)?;
    let text = found.iter().fold(String::new(), |mut text, finding| {
        let line = shown(&finding.to_string());
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
        text
    });
    super::print(&text)?;
    match found.iter().filter(|finding| finding.is_problem()).count() {
        0 => Ok(()),
        1 => Err(Failure::new(code::FOUND, "1 problem found")),
        count => Err(Failure::new(code::FOUND, format!("{count} problems found"))),
    }
}
