//! Frames: a length, a kind, a body.
//!
//! `u32` big-endian length of what follows, one byte of kind, then JSON (kind 0) or a piece of a blob
//! (kind 1: 32 bytes of SHA-256, `u64` offset, `u64` total size, bytes). Invariant: a length above
//! [`MAX_FRAME`] ends the conversation before anything is allocated for it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest frame, in bytes behind the length: a manifest of 100,000 files fits.
pub const MAX_FRAME: usize = 64 << 20;

const KIND_JSON: u8 = 0;
const KIND_BLOB: u8 = 1;

/// A piece of a file named by its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub sha256: [u8; 32],
    pub offset: u64,
    /// Size of the whole file.
    pub size: u64,
    pub bytes: Bytes,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// JSON text of a message.
    Json(Bytes),
    Blob(Blob),
}

impl Frame {
    /// Reads the message of a JSON frame.
    pub fn message<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        match self {
            Self::Json(text) => {
                serde_json::from_slice(text).map_err(|e| FrameError::Message(e.to_string()))
            }
            Self::Blob(_) => Err(FrameError::Message("a blob where a message was due".into())),
        }
    }
}

/// A stream that is no conversation of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes is longer than the {MAX_FRAME} allowed")]
    TooLong(usize),
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    #[error("a blob frame too short to hold its head")]
    Short,
    #[error("unreadable message: {0}")]
    Message(String),
}

/// Writes a message as a frame.
pub fn encode_message<T: Serialize>(message: &T) -> Result<Bytes, FrameError> {
    let body = serde_json::to_vec(message).map_err(|e| FrameError::Message(e.to_string()))?;
    if body.len() + 1 > MAX_FRAME {
        return Err(FrameError::TooLong(body.len() + 1));
    }
    let mut out = BytesMut::with_capacity(body.len() + 5);
    out.put_u32(body.len() as u32 + 1);
    out.put_u8(KIND_JSON);
    out.put_slice(&body);
    Ok(out.freeze())
}

/// Writes a piece of a blob as a frame.
pub fn encode_blob(sha256: &[u8; 32], offset: u64, size: u64, bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(bytes.len() + 53);
    out.put_u32(bytes.len() as u32 + 49);
    out.put_u8(KIND_BLOB);
    out.put_slice(sha256);
    out.put_u64(offset);
    out.put_u64(size);
    out.put_slice(bytes);
    out.freeze()
}

/// Turns received bytes into frames, whatever pieces they come in.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }
    /// The next whole frame, if one is there.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(head) = self.buffer.get(..4) else { return Ok(None) };
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        if length == 0 {
            return Err(FrameError::Short);
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        self.buffer.advance(4);
        let mut body = self.buffer.split_to(length).freeze();
        match body.get_u8() {
            KIND_JSON => Ok(Some(Frame::Json(body))),
            KIND_BLOB => {
                if body.len() < 48 {
                    return Err(FrameError::Short);
                }
                let mut sha256 = [0; 32];
                body.copy_to_slice(&mut sha256);
                let (offset, size) = (body.get_u64(), body.get_u64());
                Ok(Some(Frame::Blob(Blob { sha256, offset, size, bytes: body })))
            }
            kind => Err(FrameError::Kind(kind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cutting() {
        let mut wire = encode_message(&serde_json::json!({"a": 1})).unwrap().to_vec();
        wire.extend_from_slice(&encode_blob(&[7; 32], 5, 9, b"abcd"));
        for step in 1..wire.len() {
            let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
            for piece in wire.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen.len(), 2, "cut every {step} bytes");
            let Frame::Blob(blob) = &seen[1] else { panic!("no blob") };
            assert_eq!((blob.offset, blob.size, &blob.bytes[..]), (5, 9, &b"abcd"[..]));
        }
    }

    #[test]
    fn lengths_that_lie_are_refused_before_they_cost_memory() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_be_bytes());
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLong(u32::MAX as usize)));
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0, 2, 1, 0]);
        assert_eq!(decoder.next_frame(), Err(FrameError::Short));
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0, 1, 9]);
        assert_eq!(decoder.next_frame(), Err(FrameError::Kind(9)));
    }
}
