//! Turns panics of third-party parsers on damaged input into errors.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// Whether panics of this thread are caught and returned as errors.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Calls a third-party parser on input of unknown origin and catches its panics.
///
/// Whatever `parse` borrows mutably may be left half-changed and must not be used after a panic. The process's panic
/// hook still runs; a program that wants no message for caught panics calls [`tell_uncaught`] at its start.
///
/// # Errors
/// The panic's message.
pub fn caught<T>(parse: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CAUGHT.replace(true);
    let found = catch_unwind(AssertUnwindSafe(parse));
    CAUGHT.set(outer);
    found.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("it panicked").to_owned()
    })
}

/// Wraps the process's panic hook so that it ignores panics that [`caught`] turns into errors. Programs call it at
/// their start; a library leaves the hook of its host program alone.
pub fn tell_uncaught() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !CAUGHT.get() {
            hook(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_its_message_and_the_next_call_goes_on() {
        let parser = || -> i32 { panic!("a foreign parser") };
        assert_eq!(caught(|| 1), Ok(1));
        assert_eq!(caught(parser), Err("a foreign parser".to_owned()));
        let place = 3;
        assert_eq!(
            caught(|| -> i32 { panic!("at {place}") }),
            Err("at 3".to_owned())
        );
        assert_eq!(caught(|| caught(parser).is_err()), Ok(true));
        assert!(!CAUGHT.get());
    }
}
