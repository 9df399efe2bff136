//! The one error type and its stable codes.

use std::fmt;

/// What went wrong, as a stable word that callers branch on. JavaScript sees it as `err.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// An argument is outside what the call documents. Fix the call.
    InvalidArgument,
    /// A vector's length is not the database's dimension.
    DimensionMismatch,
    /// `insert` met an id that is already there. Use `upsert` or `update`.
    IdExists,
    /// `update` or a payload call met an id that is not there.
    NotFound,
    /// A bulk build was asked of a database with rows, or an import or a conversion where there is a database.
    NotEmpty,
    /// A filter does not parse; the message names the operator and its place.
    FilterSyntax,
    /// A payload is larger than 1 MiB as JSON text.
    PayloadTooLarge,
    /// The database was closed before the call.
    Closed,
    /// Another handle, in this process or another, holds the database.
    Locked,
    /// A write was asked of a database opened read-only.
    ReadOnly,
    /// Reopened with a dimension, metric or storage other than the stored one.
    ConfigMismatch,
    /// The files were written by a newer version of this software.
    UnsupportedVersion,
    /// Stored bytes fail their checksum or contradict each other.
    Corrupt,
    /// The disk or quota is full; nothing of the refused write was kept.
    StorageFull,
    /// The operating system refused a file operation.
    Io,
    /// The caller's abort signal fired; nothing of the call was kept.
    Aborted,
    /// An earlier write or sync failed half-way; reopen the database to go on.
    Poisoned,
    /// A documented feature that this version or host does not have.
    Unsupported,
    /// A broken internal promise: please report it.
    Internal,
}

impl Code {
    /// Every code, for tables and tests.
    pub const ALL: [Code; 19] = [
        Code::InvalidArgument,
        Code::DimensionMismatch,
        Code::IdExists,
        Code::NotFound,
        Code::NotEmpty,
        Code::FilterSyntax,
        Code::PayloadTooLarge,
        Code::Closed,
        Code::Locked,
        Code::ReadOnly,
        Code::ConfigMismatch,
        Code::UnsupportedVersion,
        Code::Corrupt,
        Code::StorageFull,
        Code::Io,
        Code::Aborted,
        Code::Poisoned,
        Code::Unsupported,
        Code::Internal,
    ];

    /// The spelling used as `err.code`.
    ///
    /// ```
    /// assert_eq!(asteroid_core::Code::IdExists.as_str(), "ID_EXISTS");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DimensionMismatch => "DIMENSION_MISMATCH",
            Code::IdExists => "ID_EXISTS",
            Code::NotFound => "NOT_FOUND",
            Code::NotEmpty => "NOT_EMPTY",
            Code::FilterSyntax => "FILTER_SYNTAX",
            Code::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Code::Closed => "CLOSED",
            Code::Locked => "LOCKED",
            Code::ReadOnly => "READ_ONLY",
            Code::ConfigMismatch => "CONFIG_MISMATCH",
            Code::UnsupportedVersion => "UNSUPPORTED_VERSION",
            Code::Corrupt => "CORRUPT",
            Code::StorageFull => "STORAGE_FULL",
            Code::Io => "IO",
            Code::Aborted => "ABORTED",
            Code::Poisoned => "POISONED",
            Code::Unsupported => "UNSUPPORTED",
            Code::Internal => "INTERNAL",
        }
    }
}

/// An error: a [`Code`] to branch on, a message for people, and the cause where there is one.
///
/// One word large, so that what answers with a `Result` moves little.
#[derive(Debug)]
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: Code,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `code`; the message says what was wrong, what was expected, and what to do.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error::of(code, message.into())
    }

    #[cold]
    #[inline(never)]
    fn of(code: Code, message: String) -> Self {
        Error(Box::new(Parts { code, message, source: None }))
    }

    /// The same error with its cause kept.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error, its message prefixed with where it happened.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.message = format!("{place}: {}", self.0.message);
        self
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The message, without the cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// `CORRUPT`, naming what is damaged.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Error::new(Code::Corrupt, message)
    }

    /// `INVALID_ARGUMENT`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Error::new(Code::InvalidArgument, message)
    }

    /// Maps an operating-system error on `what` (a file name, usually) to the code its kind means.
    pub fn io(what: impl fmt::Display, error: std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        let code = match error.kind() {
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => Code::StorageFull,
            Kind::UnexpectedEof | Kind::InvalidData => Code::Corrupt,
            _ => Code::Io,
        };
        Error::new(code, format!("{what}: {error}")).with_source(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}
