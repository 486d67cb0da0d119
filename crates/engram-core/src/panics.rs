//! Foreign parsers that panic at damaged input, so that it can be an error that names the file.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread is caught and told as an error.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Calls a parser of another crate on input of unknown origin; none where it panics. Nothing is printed then: the
/// process's panic hook is wrapped once, and goes on to print all other panics.
///
/// What `parse` borrows mutably may be left half-changed, and must not be used after a panic.
pub fn caught<T>(parse: impl FnOnce() -> T) -> Option<T> {
    static WRAPPED: Once = Once::new();
    WRAPPED.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !CAUGHT.with(Cell::get) {
                hook(info);
            }
        }));
    });
    let outer = CAUGHT.with(|caught| caught.replace(true));
    let found = catch_unwind(AssertUnwindSafe(parse));
    CAUGHT.with(|caught| caught.set(outer));
    found.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_none_and_the_next_call_goes_on() {
        assert_eq!(caught(|| 1), Some(1));
        assert_eq!(caught(|| -> i32 { panic!("a foreign parser") }), None);
        assert_eq!(
            caught(|| caught(|| -> i32 { panic!("within") }).is_none()),
            Some(true)
        );
        assert!(!CAUGHT.with(Cell::get));
    }
}
