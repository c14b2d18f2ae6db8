//! One record as it came from Kafka: bytes, not yet understood. Kept whole until its event is
//! finished, because a dead letter needs the original bytes.

use crate::scheduling::budget::Charge;
use crate::scheduling::offsets::Offset;
use crate::scheduling::queue::Queued;
use std::ops::Range;

/// A record in one allocation.
#[derive(Debug)]
pub struct Record {
    /// Its offset.
    pub offset: Offset,
    /// The broker's or producer's time, milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: Option<i64>,
    bytes: Box<[u8]>,
    key: Option<Range<u32>>,
    value: Option<Range<u32>>,
    headers: Vec<(Range<u32>, Option<Range<u32>>)>,
    _charge: Charge,
}

/// The parts of a record before they are put together.
#[derive(Debug, Default)]
pub struct Parts<'p> {
    /// The key.
    pub key: Option<&'p [u8]>,
    /// The value.
    pub value: Option<&'p [u8]>,
    /// Names and values of headers.
    pub headers: Vec<(&'p str, Option<&'p [u8]>)>,
}

impl Parts<'_> {
    /// What the parts weigh together.
    pub fn bytes(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len))
            .sum();
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + headers
    }
}

impl Record {
    /// Copies the parts into one record.
    pub fn new(
        offset: Offset,
        timestamp_ms: Option<i64>,
        parts: &Parts<'_>,
        charge: Charge,
    ) -> Self {
        let mut bytes = Vec::with_capacity(parts.bytes());
        let mut put = |part: &[u8]| {
            let from = position(bytes.len());
            bytes.extend_from_slice(part);
            from..position(bytes.len())
        };
        let key = parts.key.map(&mut put);
        let value = parts.value.map(&mut put);
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (put(name.as_bytes()), value.map(&mut put)))
            .collect();
        Self {
            offset,
            timestamp_ms,
            bytes: bytes.into_boxed_slice(),
            key,
            value,
            headers,
            _charge: charge,
        }
    }

    fn part(&self, range: &Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    /// The key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_ref().map(|range| self.part(range))
    }

    /// The value.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_ref().map(|range| self.part(range))
    }

    /// The headers, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.headers.iter().map(|(name, value)| {
            let name = std::str::from_utf8(self.part(name)).unwrap_or("");
            (name, value.as_ref().map(|range| self.part(range)))
        })
    }

    /// One header's text, where it is there and readable; of a repeated header the last one
    /// counts, as in the envelope.
    pub fn header_text(&self, wanted: &str) -> Option<&str> {
        let (_, value) = self.headers().filter(|(name, _)| *name == wanted).last()?;
        std::str::from_utf8(value?).ok()
    }
}

/// Kafka limits records to far less than 4 GiB.
fn position(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Queued for Record {
    fn offset(&self) -> Offset {
        self.offset
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }
}
