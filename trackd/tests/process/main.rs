//! The program as a process: what only shows at its edge.

mod commands;
mod hostile;
mod http;
mod queue;
mod soak;
mod support;
mod watch;
