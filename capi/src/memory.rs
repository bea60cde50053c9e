//! The one door to the caller's memory. Each function takes a pointer of the caller, refuses null, and ends
//! before the call does: no reference to that memory leaves it.

#![allow(unsafe_code, reason = "a C caller hands over memory by pointers")]

use std::ffi::{CStr, c_char};
use std::mem::size_of;
use std::ptr;

use crate::codes::{PH_E_BUFFER, PH_E_PEER, PH_E_STRUCT_SIZE, PH_E_TEXT, PH_MAX_PEER};
use crate::key::Key;
use crate::outcome::{Answer, Problem};

/// A struct of plain numbers that begins with its own size in a `u32`: any bytes are a value of it.
///
/// # Safety
///
/// The type is `repr(C)`, its first field is a `u32`, and each of its fields is an integer, a float, or an array
/// or raw pointer of such.
pub(crate) unsafe trait Sized32: Copy {}

/// Reads the key of a peer into `key`.
///
/// # Safety
///
/// `peer` is null or leads to `length` bytes that may be read.
#[inline]
pub(crate) unsafe fn key(peer: *const u8, length: usize, key: &mut Key) -> Answer<()> {
    if peer.is_null() {
        return Err(Problem::null("peer"));
    }
    let Some(place) = key.place(length) else {
        let rule = format!("peer_len is {length}: must be from 1 to {PH_MAX_PEER}");
        return Err(Problem::new(PH_E_PEER, rule));
    };
    // SAFETY: the caller promises `length` readable bytes; the place has as many, and is no memory of the
    // caller's.
    unsafe { ptr::copy_nonoverlapping(peer, place.as_mut_ptr(), length) };
    Ok(())
}

/// Copies a slice of bytes.
///
/// # Safety
///
/// `data` is null or leads to `length` bytes that may be read.
#[inline]
pub(crate) unsafe fn bytes(data: *const u8, length: usize) -> Answer<Vec<u8>> {
    if data.is_null() {
        return Err(Problem::null("data"));
    }
    if length > isize::MAX.unsigned_abs() {
        return Err(Problem::new(PH_E_BUFFER, format!("length is {length}: too large")));
    }
    // SAFETY: the pointer is not null, a byte needs no alignment, the length is one that a slice may have, and
    // the caller promises that so many bytes may be read.
    let bytes = unsafe { std::slice::from_raw_parts(data, length) };
    Ok(bytes.to_vec())
}

/// Copies a text that ends in NUL; null is an empty one.
///
/// # Safety
///
/// `text` is null or leads to bytes that may be read up to a NUL.
#[inline]
pub(crate) unsafe fn text(name: &str, text: *const c_char) -> Answer<String> {
    if text.is_null() {
        return Ok(String::new());
    }
    // SAFETY: the pointer is not null, and the caller promises a NUL at the end.
    let text = unsafe { CStr::from_ptr(text) };
    let utf8 = text.to_str().map(String::from);
    utf8.map_err(|error| Problem::new(PH_E_TEXT, format!("{name} is not UTF-8: {error}")))
}

/// Reads a struct, if its size is right.
///
/// # Safety
///
/// `from` is null or leads to a struct whose first field is its size in bytes, which may all be read.
#[inline]
pub(crate) unsafe fn read<T: Sized32>(name: &str, from: *const T) -> Answer<T> {
    // SAFETY: as the caller of this function promises.
    unsafe { size(name, from) }?;
    // SAFETY: the struct has the size of `T`, and any bytes are a `T`, as `Sized32` promises; the read needs no
    // alignment.
    Ok(unsafe { ptr::read_unaligned(from) })
}

/// Checks the size in a struct that is to be written.
///
/// # Safety
///
/// As [`read`].
#[inline]
pub(crate) unsafe fn size<T: Sized32>(name: &str, from: *const T) -> Answer<()> {
    if from.is_null() {
        return Err(Problem::null(name));
    }
    // SAFETY: the pointer is not null, and the caller promises that the first field, a `u32`, may be read.
    let size = unsafe { ptr::read_unaligned(from.cast::<u32>()) };
    match size as usize == size_of::<T>() {
        true => Ok(()),
        false => {
            let message = format!("{name}.struct_size is {size}: must be {}", size_of::<T>());
            Err(Problem::new(PH_E_STRUCT_SIZE, message))
        }
    }
}

/// Checks that a value can be written.
pub(crate) fn not_null<T>(name: &str, to: *mut T) -> Answer<()> {
    if to.is_null() { Err(Problem::null(name)) } else { Ok(()) }
}

/// Writes a value, unless `to` is null.
///
/// # Safety
///
/// `to` is null or leads to a `T` that may be written.
#[inline]
pub(crate) unsafe fn write<T: Copy>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: the pointer is not null, and the caller promises that a `T` may be written; the write needs
        // no alignment.
        unsafe { ptr::write_unaligned(to, value) };
    }
}

/// Writes values one after the other.
///
/// # Safety
///
/// `to` leads to as many `T`s that may be written; it may be null if there is no value.
#[inline]
pub(crate) unsafe fn write_all<T: Copy>(to: *mut T, values: &[T]) {
    for (n, value) in values.iter().enumerate() {
        // `wrapping_add` is safe arithmetic: the address is used by the write alone.
        let place = to.wrapping_add(n);
        // SAFETY: the caller promises that this one of its places may be written.
        unsafe { write(place, *value) };
    }
}
