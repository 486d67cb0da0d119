//! A minimum rate for bytes from a network, so that engram does not wait for a server that sends a byte now and then.

use std::io::Read;
use std::time::Duration;

/// Length of the interval over which the rate is measured.
pub const WINDOW: Duration = Duration::from_secs(30);
/// Minimum number of bytes in a [`WINDOW`]: 1 kB a second.
pub const LEAST: u64 = 30_000;

/// Fewer bytes than [`LEAST`] came in a [`WINDOW`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("only {bytes} bytes came in {seconds} s, less than 1 kB a second")]
pub struct TooSlow {
    /// Bytes received.
    pub bytes: u64,
    /// Length of the interval in seconds.
    pub seconds: u64,
}

/// A reader that fails if bytes arrive more slowly than [`LEAST`] per [`WINDOW`].
pub struct Paced<R, F> {
    inner: R,
    /// Time since some fixed moment.
    now: F,
    began: Duration,
    bytes: u64,
}

impl<R: Read, F: Fn() -> Duration> Paced<R, F> {
    /// Wraps a reader; `now` is the clock.
    pub fn new(inner: R, now: F) -> Paced<R, F> {
        let began = now();
        Paced {
            inner,
            now,
            began,
            bytes: 0,
        }
    }
}

impl<R: Read, F: Fn() -> Duration> Read for Paced<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        let now = (self.now)();
        let passed = now.saturating_sub(self.began);
        if read == 0 || passed < WINDOW {
            return Ok(read);
        }
        if self.bytes < LEAST {
            return Err(std::io::Error::other(TooSlow {
                bytes: self.bytes,
                seconds: passed.as_secs(),
            }));
        }
        (self.began, self.bytes) = (now, 0);
        Ok(read)
    }
}

/// Whether a read failed because bytes arrived too slowly.
pub fn is_too_slow(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|e| e.is::<TooSlow>())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A reader that gives `step` bytes a second.
    struct Drip<'a> {
        seconds: &'a Cell<u64>,
        step: usize,
    }

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.seconds.set(self.seconds.get() + 1);
            Ok(self.step.min(buffer.len()))
        }
    }

    fn read(step: usize, bytes: u64) -> (std::io::Result<u64>, u64) {
        let seconds = Cell::new(0);
        let drip = Drip {
            seconds: &seconds,
            step,
        };
        let mut paced = Paced::new(drip, || Duration::from_secs(seconds.get()));
        // A buffer of one size, larger than a step.
        let all = std::io::copy(&mut paced.by_ref().take(bytes), &mut std::io::sink());
        (all, seconds.get())
    }

    #[test]
    fn a_drip_ends_after_a_window_and_a_slow_line_goes_on() {
        let (found, seconds) = read(1, 1_000_000);
        let error = found.unwrap_err();
        assert!(is_too_slow(&error));
        assert_eq!(
            error.to_string(),
            "only 30 bytes came in 30 s, less than 1 kB a second"
        );
        assert_eq!(seconds, 30);
        let (found, seconds) = read(1000, 100_000);
        assert_eq!((found.unwrap(), seconds), (100_000, 100));
        assert!(read(999, 100_000).0.is_err());
        // A stream that ends within the first window may be shorter.
        assert_eq!(read(1, 20).0.unwrap(), 20);
    }
}
