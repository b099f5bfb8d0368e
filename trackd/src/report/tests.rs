//! Reports over small generated data sets.
