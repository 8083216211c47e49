//! Why an option list is refused.
#![forbid(unsafe_code)]

/// Why an option list is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionError {
    /// No such option.
    #[error("unknown option '{name}'{}", suggestion(.like))]
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
    #[error("option '{name}' does not know the value '{value}'; use one of {known}")]
    BadValue {
        /// The option.
        name: &'static str,
        /// As it was written.
        value: String,
        /// What it knows, separated by `|`.
        known: &'static str,
    },
    /// A double quote without its partner.
    #[error("a double quote is not closed in '{0}'")]
    Quote(String),
    /// The same option with two values.
    #[error("option '{0}' is given twice, with different values")]
    Twice(&'static str),
}

fn suggestion(like: &Option<&'static str>) -> String {
    like.map_or_else(String::new, |like| format!(" (did you mean '{like}'?)"))
}
