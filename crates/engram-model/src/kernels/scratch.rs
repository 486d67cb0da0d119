//! Reusable buffers. Fresh memory is cleared page by page by the system, which costs more than some of the
//! computations.

use std::cell::RefCell;

/// Maximum number of buffers that a thread keeps.
const MOST: usize = 16;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for `capacity` values: the smallest kept one that is large enough. If there is none, the
/// largest is replaced by a larger one, so that a thread keeps no more buffers than it has used at one time.
pub(crate) fn take(capacity: usize) -> Vec<f32> {
    let kept = FREE.with_borrow_mut(|free| {
        let size = |at: &usize| free[*at].capacity();
        let fitting = (0..free.len()).filter(|at| size(at) >= capacity);
        match fitting.min_by_key(size) {
            Some(at) => Some(free.swap_remove(at)),
            None => {
                let largest = (0..free.len()).max_by_key(size);
                largest.map(|at| free.swap_remove(at));
                None
            }
        }
    });
    let mut buffer = kept.unwrap_or_else(|| Vec::with_capacity(capacity));
    buffer.clear();
    buffer
}

/// A buffer of zeros.
pub(crate) fn zeros(len: usize) -> Vec<f32> {
    let mut buffer = take(len);
    buffer.resize(len, 0.0);
    buffer
}

/// Returns a buffer; if there are many, it replaces the smallest.
pub(crate) fn give(buffer: Vec<f32>) {
    FREE.with_borrow_mut(|free| {
        free.push(buffer);
        if free.len() > MOST {
            let smallest = (0..free.len()).min_by_key(|i| free[*i].capacity());
            smallest.map(|i| free.swap_remove(i));
        }
    });
}

/// Frees this thread's buffers.
pub(crate) fn clear() {
    FREE.with_borrow_mut(Vec::clear);
}

thread_local! {
    static WORDS: RefCell<Vec<Vec<u32>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of `len` words with arbitrary content.
pub(crate) fn take_words(len: usize) -> Vec<u32> {
    let mut buffer = WORDS.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    buffer
}

/// Returns a buffer of words.
pub(crate) fn give_words(buffer: Vec<u32>) {
    WORDS.with_borrow_mut(|free| free.push(buffer));
}
