//! Where the body of a request ends
//! ([RFC 9112, 6.3](https://www.rfc-editor.org/rfc/rfc9112#section-6.3)).

/// The part of a body that has not passed yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes.
    Length(u64),
    /// Chunks, and where in them the next byte is.
    Chunked(Chunks),
}

/// A position in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunks {
    /// The first digit of a size.
    Begin,
    /// Another digit of a size, or what follows it.
    Size(u64),
    /// The extensions after a size.
    Extension(u64),
    /// The line feed after a size.
    SizeEnd(u64),
    /// The data of a chunk.
    Data(u64),
    /// The carriage return after the data.
    DataReturn,
    /// The line feed after the data.
    DataEnd,
    /// The first byte of a trailer field, or of the empty line at the end.
    Trailers,
    /// Within a trailer field.
    Trailer,
    /// The line feed after a trailer field.
    TrailerEnd,
    /// The last line feed.
    LastEnd,
    /// Nothing: the body is over.
    Over,
    /// Nothing: these are no chunks.
    Broken,
}

impl Framing {
    /// Moves on by those of `bytes` that belong to the body, and returns their number.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Length(rest) => {
                let passed =
                    usize::try_from(*rest).map_or(bytes.len(), |rest| rest.min(bytes.len()));
                *rest -= passed as u64;
                passed
            }
            Self::Chunked(chunks) => {
                let mut passed = 0;
                while passed < bytes.len() && !matches!(chunks, Chunks::Over | Chunks::Broken) {
                    passed += chunks.advance(&bytes[passed..]);
                }
                passed
            }
        }
    }

    /// Whether the whole body has passed.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks::Over))
    }

    /// Whether nobody can tell where the body ends.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self, Self::Chunked(Chunks::Broken))
    }
}

impl Chunks {
    /// Moves on by the next byte, or by all data of a chunk. `bytes` is not empty.
    fn advance(&mut self, bytes: &[u8]) -> usize {
        if let Self::Data(rest) = self {
            let passed = usize::try_from(*rest).map_or(bytes.len(), |rest| rest.min(bytes.len()));
            *rest -= passed as u64;
            if *rest == 0 {
                *self = Self::DataReturn;
            }
            return passed;
        }
        let byte = bytes[0];
        *self = match (*self, byte) {
            (Self::Begin, _) => digit(byte).map_or(Self::Broken, Self::Size),
            (Self::Size(size) | Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Size(size), b';' | b' ' | b'\t') => Self::Extension(size),
            (Self::Size(size), _) => match (size.checked_mul(16), digit(byte)) {
                (Some(size), Some(digit)) => Self::Size(size + digit),
                _ => Self::Broken,
            },
            (extension @ Self::Extension(_), byte) if byte != b'\n' => extension,
            (Self::SizeEnd(0) | Self::TrailerEnd, b'\n') => Self::Trailers,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataReturn, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::Begin,
            (Self::Trailers, b'\r') => Self::LastEnd,
            (Self::Trailer, b'\r') => Self::TrailerEnd,
            (Self::Trailers | Self::Trailer, byte) if byte != b'\n' => Self::Trailer,
            (Self::LastEnd, b'\n') => Self::Over,
            _ => Self::Broken,
        };
        1
    }
}

fn digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The length of the body, read in pieces of `size` bytes; none if it does not end.
    fn length(mut framing: Framing, bytes: &[u8], size: usize) -> Option<usize> {
        let mut length = 0;
        for piece in bytes.chunks(size) {
            length += framing.advance(piece);
        }
        framing.is_over().then_some(length)
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        for size in [1, 2, 3, 100] {
            let of = |framing, bytes| length(framing, bytes, size);
            assert_eq!(of(Framing::Length(0), b"GET"), Some(0));
            assert_eq!(of(Framing::Length(3), b"abcGET"), Some(3));
            assert_eq!(of(Framing::Length(3), b"ab"), None);
            for (chunks, expected, reason) in [
                ("0\r\n\r\nGET", Some(5), "no data"),
                ("3\r\nabc\r\n0\r\n\r\nGET", Some(13), "one chunk"),
                ("1\r\na\r\n01\r\nb\r\n0\r\n\r\n", Some(18), "two chunks"),
                (
                    "A\r\n0123456789\r\n0\r\n\r\n",
                    Some(20),
                    "a hexadecimal size",
                ),
                ("1;a=b\r\nc\r\n0\r\n\r\n", Some(15), "an extension"),
                ("1 \r\nc\r\n0\r\n\r\n", Some(12), "white space"),
                ("0\r\na: b\r\nc: d\r\n\r\nGET", Some(17), "trailers"),
                ("3\r\nabc\r\n0\r\n", None, "no end"),
            ] {
                let chunked = Framing::Chunked(Chunks::Begin);
                assert_eq!(of(chunked, chunks.as_bytes()), expected, "{reason}");
            }
        }
    }

    #[test]
    fn what_is_no_chunk_is_broken() {
        for (chunks, reason) in [
            ("\r\n", "no size"),
            ("x\r\n", "not a number"),
            ("-1\r\n", "a sign"),
            ("0x1\r\na", "a prefix"),
            ("10000000000000000\r\n", "more than 64 bits"),
            ("1\na\r\n", "no carriage return"),
            ("1;a\na\r\n", "none after an extension"),
            ("1\r\nab", "more data than the size says"),
            ("0\r\n\n", "none at the end"),
            ("0\r\na: b\n\r\n", "none after a trailer"),
        ] {
            let mut framing = Framing::Chunked(Chunks::Begin);
            framing.advance(chunks.as_bytes());
            assert!(framing.is_broken(), "{reason}: {framing:?}");
        }
    }
}
