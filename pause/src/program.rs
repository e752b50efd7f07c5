//! The first process of a pod sandbox: holds the namespaces, reaps orphans, ends when told to.
//!
//! Built by `build.rs`, without the standard library and without libc. All signals are blocked and taken one by one
//! with `rt_sigtimedwait`: the kernel drops an unhandled signal to the first process of a namespace unless that
//! process blocks it (`sig_ignored` in kernel/signal.c), so blocking is what makes SIGTERM arrive at all.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

const SIGINT: isize = 2;
const SIGTERM: isize = 15;
const SIGCHLD: isize = 17;
const SIG_SETMASK: usize = 2;
const WNOHANG: usize = 1;
const EINTR: isize = -4;

#[cfg(target_arch = "x86_64")]
mod call {
    pub const WAIT4: usize = 61;
    pub const EXIT_GROUP: usize = 231;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const RT_SIGTIMEDWAIT: usize = 128;
}
#[cfg(target_arch = "aarch64")]
mod call {
    pub const WAIT4: usize = 260;
    pub const EXIT_GROUP: usize = 94;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
}

// The kernel enters with the stack pointer on argc; the ABI wants it on a multiple of 16 before a call.
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start: xor ebp, ebp", "and rsp, -16", "call {main}", main = sym main);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start: bl {main}", main = sym main);

/// # Safety
/// `number` is a system call whose pointer arguments, if any, are valid for what it reads and writes.
#[cfg(target_arch = "x86_64")]
unsafe fn syscall(number: usize, arguments: [usize; 4]) -> isize {
    let result;
    // SAFETY: the caller answers for the arguments; the registers that the kernel destroys are named.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") arguments[0], in("rsi") arguments[1],
            in("rdx") arguments[2], in("r10") arguments[3], lateout("rcx") _, lateout("r11") _);
    }
    result
}

/// # Safety
/// `number` is a system call whose pointer arguments, if any, are valid for what it reads and writes.
#[cfg(target_arch = "aarch64")]
unsafe fn syscall(number: usize, arguments: [usize; 4]) -> isize {
    let result;
    // SAFETY: the caller answers for the arguments; the kernel keeps all other registers.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") arguments[0] as isize => result, in("x1") arguments[1],
            in("x2") arguments[2], in("x3") arguments[3]);
    }
    result
}

extern "C" fn main() -> ! {
    let all: u64 = !0;
    let mask = &raw const all as usize;
    // SAFETY: the mask lives to the end of the process and has the eight bytes that the calls are told of; the other
    // calls take no pointers.
    unsafe {
        syscall(call::RT_SIGPROCMASK, [SIG_SETMASK, mask, 0, 8]);
        loop {
            match syscall(call::RT_SIGTIMEDWAIT, [mask, 0, 0, 8]) {
                SIGINT | SIGTERM => break,
                SIGCHLD => while syscall(call::WAIT4, [usize::MAX, 0, WNOHANG, 0]) > 0 {},
                EINTR => {}
                _ => {}
            }
        }
        loop {
            syscall(call::EXIT_GROUP, [0; 4]);
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: the call takes no pointers and does not return.
    unsafe { syscall(call::EXIT_GROUP, [2, 0, 0, 0]) };
    loop {}
}
