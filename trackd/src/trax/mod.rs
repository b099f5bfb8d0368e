//! A TraX server: the protocol by which the official VOT toolkit, and others, drive a tracker.
//!
//! | | versions 1 to 3 | version 4 |
//! |---|---|---|
//! | `initialize` | picture and region; answered by one `state` | region only, one message per target, answered with the next `frame`; without arguments it drops all targets |
//! | `frame` | picture; answered by one `state` | picture; answered by one `state` per target, in the order of their messages |
//! | targets | one | any number, which may join at any frame |
//!
//! On the frame of its initialisation a target's state is the region that was given. Every later state is a rectangle
//! with the property `confidence`. Regions may be rectangles, polygons and masks; a tracker starts on a polygon as
//! SiamRPN does in its evaluations ([`vot::region::siamrpn_init_box`]).

pub mod message;
pub mod picture;
mod transport;

use crate::engine::{Engines, TrackEngine};
use crate::frames::Limits;
use message::{Kind, Message, MessageError};
use picture::PictureError;
use shards::image::Rgb;
use siamrpn::tracker::TrackError;
use std::io::{self, BufRead, Read, Write};
use vot::Region;
use vot::region::siamrpn_init_box;

pub use transport::{Transport, connect};

/// The newest version spoken.
pub const NEWEST: u8 = 4;
/// Longest line; a picture of 8192x4320 px in base64 fits.
const LINE: u64 = 1 << 28;

/// Why a session ended early. The other side is told before.
#[derive(Debug, thiserror::Error)]
pub enum TraxError {
    /// The connection broke.
    #[error("TraX connection: {0}")]
    Io(#[from] io::Error),
    /// No connection could be made.
    #[error("TraX connection to {address}: {source}; is the client listening there?")]
    Connect {
        /// Where to.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// `TRAX_SOCKET`, `TRAX_IN` or `TRAX_OUT` holds no number.
    #[error("{name}={value}: must be a number")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
    },
    /// A line that is too long.
    #[error("TraX message of more than {LINE} bytes")]
    TooLong,
    /// A line that is no message.
    #[error("TraX message: {0}")]
    Message(#[from] MessageError),
    /// A message that does not belong here.
    #[error("TraX {kind:?} with {found} arguments: expected {expected}")]
    Arguments {
        /// The message.
        kind: Kind,
        /// What should be there.
        expected: &'static str,
        /// Arguments found.
        found: usize,
    },
    /// A picture before any target.
    #[error("TraX frame without a target: initialize comes first")]
    NoTarget,
    /// A region that no tracker can start from.
    #[error("TraX region `{text}`: {reason}")]
    Region {
        /// The argument.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// A picture that cannot be read.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The tracker.
    #[error("failed to track: {0}")]
    Track(#[from] TrackError),
}

/// One target.
struct Target {
    tracker: Box<dyn TrackEngine>,
    /// The region to start from, until its first picture.
    start: Option<Region>,
}

/// Serves one client until it quits or its end closes. `version` is 1 to [`NEWEST`].
///
/// # Errors
/// [`TraxError`]; the client has been sent `quit` with the reason then.
pub fn serve(
    input: impl BufRead,
    mut output: impl Write,
    engines: &dyn Engines,
    version: u8,
    limits: &Limits,
) -> Result<(), TraxError> {
    let done = Session { engines, version, limits, targets: Vec::new() }.run(input, &mut output);
    if let Err(error) = &done {
        let quit = Message::new(Kind::Quit).property("trax.reason", error.to_string());
        // The connection may be what broke; the error is answered either way.
        drop(send(&mut output, &quit));
    }
    done
}

/// Sends a message in one piece: the client reads line by line.
fn send(output: &mut impl Write, message: &Message) -> io::Result<()> {
    output.write_all(&message.line())?;
    output.flush()
}

struct Session<'a> {
    engines: &'a dyn Engines,
    version: u8,
    limits: &'a Limits,
    targets: Vec<Target>,
}

impl Session<'_> {
    fn run(&mut self, mut input: impl BufRead, output: &mut impl Write) -> Result<(), TraxError> {
        send(output, &self.hello())?;
        let mut line = Vec::new();
        loop {
            line.clear();
            input.by_ref().take(LINE).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Ok(());
            }
            if line.pop_if(|byte| *byte == b'\n').is_none() && line.len() as u64 == LINE {
                return Err(TraxError::TooLong);
            }
            let Some(message) = Message::parse(&line)? else { continue };
            match message.kind {
                Kind::Quit => return Ok(()),
                Kind::Initialize => self.initialize(&message, output)?,
                Kind::Frame => self.frame(&message, output)?,
                // What servers say means nothing to one.
                Kind::Hello | Kind::State => {}
            }
        }
    }

    fn hello(&self) -> Message {
        let hello = Message::new(Kind::Hello)
            .property("trax.version", self.version.to_string())
            .property("trax.name", "SiamRPN")
            .property("trax.family", "SiamRPN")
            .property("trax.description", format!("trackd {}", schemas::format::VERSION))
            .property("trax.region", "rectangle;polygon;mask;")
            .property("trax.image", "path;memory;buffer;")
            .property("trax.channels", "color;");
        if self.version >= 4 { hello.property("trax.multiobject", "1") } else { hello }
    }

    fn initialize(&mut self, message: &Message, output: &mut impl Write) -> Result<(), TraxError> {
        let target = |region: &[u8]| -> Result<Target, TraxError> {
            Ok(Target { tracker: self.engines.start(), start: Some(region_of(region)?) })
        };
        match (self.version, message.arguments.as_slice()) {
            (4.., []) => self.targets.clear(),
            (4.., [region]) => self.targets.push(target(region)?),
            (..4, [picture, region]) => {
                self.targets = vec![target(region)?];
                self.answer(picture, output)?;
            }
            (version, other) => {
                let expected = if version >= 4 { "one region, or nothing" } else { "a picture and a region" };
                return Err(TraxError::Arguments { kind: Kind::Initialize, expected, found: other.len() });
            }
        }
        Ok(())
    }

    fn frame(&mut self, message: &Message, output: &mut impl Write) -> Result<(), TraxError> {
        let [picture] = message.arguments.as_slice() else {
            let found = message.arguments.len();
            return Err(TraxError::Arguments { kind: Kind::Frame, expected: "one picture", found });
        };
        if self.targets.is_empty() {
            return Err(TraxError::NoTarget);
        }
        self.answer(picture, output)
    }

    /// Reads the picture, asks every tracker, and sends the states.
    fn answer(&mut self, picture: &[u8], output: &mut impl Write) -> Result<(), TraxError> {
        let frame = picture::read(picture, self.limits.max_pixels)?;
        for target in &mut self.targets {
            send(output, &target.state(&frame)?)?;
        }
        Ok(())
    }
}

impl Target {
    fn state(&mut self, frame: &Rgb) -> Result<Message, TraxError> {
        let state = Message::new(Kind::State);
        if let Some(region) = self.start.take() {
            let rect = siamrpn_init_box(&region).ok_or_else(|| TraxError::Region {
                text: region.to_trax(),
                reason: "it has no area to start from".to_owned(),
            })?;
            self.tracker.init(frame, [rect.x, rect.y, rect.width, rect.height])?;
            return Ok(state.argument(region.to_trax()));
        }
        let found = self.tracker.update(frame)?;
        let [x, y, w, h] = found.rect;
        let region = Region::rect(x, y, w, h).to_trax();
        Ok(state.argument(region).property("confidence", format!("{:.6}", found.score)))
    }
}

fn region_of(argument: &[u8]) -> Result<Region, TraxError> {
    let text = String::from_utf8_lossy(argument).into_owned();
    Region::parse_trax(&text).map_err(|e| TraxError::Region { text, reason: e.to_string() })
}

#[cfg(test)]
mod tests;
