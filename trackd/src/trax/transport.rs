//! How the client is reached: standard input and output, file descriptors it opened, or a socket it listens on.

use super::TraxError;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

/// How long a client may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Both ends of a connection.
pub struct Transport {
    /// From the client.
    pub input: Box<dyn BufRead>,
    /// To the client.
    pub output: Box<dyn Write>,
}

/// Connects as the client asks by its environment: `TRAX_SOCKET` (a port on this machine), else `TRAX_IN` and
/// `TRAX_OUT` (descriptors), else standard input and output. `variable` looks a variable up.
///
/// # Errors
/// [`TraxError::Connect`], [`TraxError::Variable`], [`TraxError::Io`].
pub fn connect(variable: impl Fn(&'static str) -> Option<String>) -> Result<Transport, TraxError> {
    let number = |name: &'static str| -> Result<Option<u16>, TraxError> {
        let Some(value) = variable(name) else { return Ok(None) };
        value.trim().parse().map(Some).map_err(|_| TraxError::Variable { name, value })
    };
    if let Some(port) = number("TRAX_SOCKET")? {
        let stream = dial(port)?;
        stream.set_nodelay(true)?;
        return Ok(Transport { input: Box::new(BufReader::new(stream.try_clone()?)), output: Box::new(stream) });
    }
    let descriptor =
        |fd: u16, write: bool| File::options().read(!write).write(write).open(format!("/proc/self/fd/{fd}"));
    let input: Box<dyn BufRead> = match number("TRAX_IN")? {
        Some(fd) => Box::new(BufReader::new(descriptor(fd, false)?)),
        None => Box::new(BufReader::new(io::stdin())),
    };
    let output: Box<dyn Write> = match number("TRAX_OUT")? {
        Some(fd) => Box::new(descriptor(fd, true)?),
        None => Box::new(io::stdout()),
    };
    Ok(Transport { input, output })
}

/// Connects to a port of this machine; a client that is not listening yet is waited for.
fn dial(port: u16) -> Result<TcpStream, TraxError> {
    let started = Instant::now();
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => return Ok(stream),
            Err(source) if started.elapsed() > PATIENCE => {
                return Err(TraxError::Connect { address: format!("127.0.0.1:{port}"), source });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
