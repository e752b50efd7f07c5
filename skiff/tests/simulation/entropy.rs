//! The randomness that std and tokio ask the kernel for, from the seed: hash maps would otherwise have another order in each
//! run, and with them everything that iterates over one.
//!
//! A symbol of the program goes before that of libc, and std calls it through libc's name. Each run has a thread of its
//! own, whose maps begin with this thread's first numbers; other threads get the kernel's.
#![allow(unsafe_code)] // The function has C's signature.

use std::cell::Cell;
use std::mem::MaybeUninit;

use rustix::rand::GetRandomFlags;

thread_local! {
    /// 0: not from a seed.
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// From now on this thread gets the same numbers for the same seed.
pub(crate) fn seed_this_thread(seed: u64) {
    STATE.set(seed.wrapping_mul(2).wrapping_add(1));
}

/// getrandom(2).
#[unsafe(no_mangle)]
extern "C" fn getrandom(buffer: *mut MaybeUninit<u8>, length: usize, flags: u32) -> isize {
    // SAFETY: who calls getrandom(2) gives `length` bytes at `buffer` that may be written.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    if STATE.get() == 0 {
        let got = rustix::rand::getrandom(bytes, GetRandomFlags::from_bits_retain(flags));
        return got.map_or(-1, |(bytes, _)| bytes.len().cast_signed());
    }
    for byte in bytes {
        byte.write(next());
    }
    length.cast_signed()
}

/// A step of SplitMix64.
fn next() -> u8 {
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 56) as u8
}
