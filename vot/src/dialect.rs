//! The dialects of the measures: which toolkit's definitions a number follows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whose definitions are followed. Numbers of different dialects must not be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Dialect {
    /// The official Python toolkit (`vot-toolkit` on PyPI), supervised experiments.
    #[serde(rename = "vot-python")]
    VotPython,
    /// The official MATLAB toolkit with the settings of VOT2013 to VOT2015: legacy raster, EAO unbounded.
    #[serde(rename = "vot-matlab-2015")]
    VotMatlab2015,
    /// The official MATLAB toolkit with the settings of VOT2016 and later.
    #[default]
    #[serde(rename = "vot-matlab")]
    VotMatlab,
    /// The evaluation toolkit of PySOT.
    #[serde(rename = "pysot")]
    Pysot,
    /// The evaluation in MindSpore's SiamRPN (`eval.json`).
    #[serde(rename = "mindspore")]
    Mindspore,
}

impl Dialect {
    /// Every dialect, in the order of the documentation.
    pub const ALL: [Dialect; 5] =
        [Dialect::VotPython, Dialect::VotMatlab2015, Dialect::VotMatlab, Dialect::Pysot, Dialect::Mindspore];

    /// The name used on the command line and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::VotPython => "vot-python",
            Dialect::VotMatlab2015 => "vot-matlab-2015",
            Dialect::VotMatlab => "vot-matlab",
            Dialect::Pysot => "pysot",
            Dialect::Mindspore => "mindspore",
        }
    }

    /// Frames at the start of each run that do not count for accuracy, the frame of the
    /// initialisation being the first of them: 10, except MindSpore, which has none.
    pub fn burnin(self) -> usize {
        match self {
            Dialect::Mindspore => 0,
            _ => 10,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A dialect name that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown dialect `{found}`: use one of vot-python, vot-matlab-2015, vot-matlab, pysot, mindspore")]
pub struct UnknownDialect {
    /// What was given.
    pub found: String,
}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Dialect::ALL
            .into_iter()
            .find(|dialect| dialect.as_str() == text)
            .ok_or_else(|| UnknownDialect { found: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_text_and_json() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect.to_string().parse::<Dialect>().unwrap(), dialect);
            let json = serde_json::to_string(&dialect).unwrap();
            assert_eq!(json, format!("\"{dialect}\""));
            assert_eq!(serde_json::from_str::<Dialect>(&json).unwrap(), dialect);
        }
        let error = "vot2016".parse::<Dialect>().unwrap_err();
        assert!(error.to_string().contains("vot2016") && error.to_string().contains("mindspore"));
    }
}
