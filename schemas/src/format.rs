//! Versions of what is written to disk, and the stamp of the program that wrote it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Version of an on-disk format: readers accept every minor version of the major versions they know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct FormatVersion {
    /// Raised when an older reader would misread the data.
    pub major: u16,
    /// Raised when something was added that older readers may ignore.
    pub minor: u16,
}

/// The shard, index and manifest format this release writes.
pub const DATASET_FORMAT: FormatVersion = FormatVersion { major: 1, minor: 0 };
/// The model file format this release writes.
pub const MODEL_FORMAT: FormatVersion = FormatVersion { major: 1, minor: 0 };
/// The checkpoint format this release writes.
pub const CHECKPOINT_FORMAT: FormatVersion = FormatVersion { major: 1, minor: 1 };

/// Why a format version was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The text is not `major.minor`.
    #[error("format version {0:?} is not of the form major.minor")]
    Malformed(String),
    /// The data was written by a newer release.
    #[error("format version {found} is newer than the {supported} this program reads: use a newer release")]
    TooNew {
        /// Version found on disk.
        found: FormatVersion,
        /// Newest version this program reads.
        supported: FormatVersion,
    },
}

impl FormatVersion {
    /// Accepts this version if a program that knows `supported` can read it.
    ///
    /// # Errors
    /// [`FormatError::TooNew`] when the major version is larger than the supported one.
    pub fn check(self, supported: Self) -> Result<(), FormatError> {
        if self.major > supported.major {
            return Err(FormatError::TooNew { found: self, supported });
        }
        Ok(())
    }
}

impl fmt::Display for FormatVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for FormatVersion {
    type Err = FormatError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bad = || FormatError::Malformed(s.to_owned());
        let (major, minor) = s.split_once('.').ok_or_else(bad)?;
        Ok(Self { major: major.parse().map_err(|_| bad())?, minor: minor.parse().map_err(|_| bad())? })
    }
}

impl TryFrom<String> for FormatVersion {
    type Error = FormatError;
    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<FormatVersion> for String {
    fn from(v: FormatVersion) -> Self {
        v.to_string()
    }
}

/// Version and commit of this release, as the programs' `--version` shows it.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("GIT_COMMIT"), ")");

/// Name and version of the program that writes a file, for example `ingest 0.1.0`.
#[must_use]
pub fn writer_stamp(program: &str) -> String {
    format!("{program} {}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_round_trip_and_newer_majors_are_refused() {
        let v: FormatVersion = "1.7".parse().unwrap();
        assert_eq!(v, FormatVersion { major: 1, minor: 7 });
        assert_eq!(v.to_string(), "1.7");
        assert!(v.check(DATASET_FORMAT).is_ok());
        let newer: FormatVersion = "2.0".parse().unwrap();
        assert!(matches!(newer.check(DATASET_FORMAT), Err(FormatError::TooNew { .. })));
        assert!("1".parse::<FormatVersion>().is_err());
        assert!("1.x".parse::<FormatVersion>().is_err());
    }
}
