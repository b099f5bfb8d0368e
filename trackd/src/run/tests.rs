//! Tests of one job with a tracker that stands still.
