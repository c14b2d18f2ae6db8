//! Records as producers send them.

use events::{Envelope, EventId, EventType, Payload, plain_json, wire};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka_sys as sys;
use std::ffi::{CStr, CString};
use uuid::Uuid;

#[derive(Clone, Debug)]
pub struct RawRecord {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl RawRecord {
    pub fn of(payload: &Payload) -> Self {
        Self::with_id(payload, Uuid::now_v7())
    }

    pub fn with_id(payload: &Payload, id: Uuid) -> Self {
        let envelope = Envelope {
            id: EventId(id),
            event_type: payload.event_type().contract().name.to_owned(),
            source: "progress-service".to_owned(),
            time: chrono::Utc::now(),
            subject: payload.subject().to_string(),
            aggregate_version: Some(1),
            correlation_id: None,
            causation_id: None,
            traceparent: None,
        };
        let headers = envelope
            .to_headers()
            .into_iter()
            .map(|(n, v)| (n.to_owned(), v.into_bytes()))
            .collect();
        let datum = events::encode(payload).unwrap();
        let value = wire::join(schema_id(payload.event_type()), &datum);
        Self {
            key: Some(payload.key().to_string().into_bytes()),
            value: Some(value),
            headers,
        }
    }

    pub fn set_header(mut self, name: &str, value: &str) -> Self {
        self = self.without_header(name);
        self.headers
            .push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rev().find(|(known, _)| known == name)?;
        std::str::from_utf8(value).ok()
    }

    /// The event's id.
    pub fn id(&self) -> Uuid {
        self.header("ce_id").unwrap().parse().unwrap()
    }

    /// The same with another schema id in the value.
    pub fn with_schema_id(mut self, id: wire::SchemaId) -> Self {
        let datum = self.value.as_deref().unwrap()[5..].to_vec();
        self.value = Some(wire::join(id, &datum));
        self
    }
}

/// The id under which the bundled registry has a schema.
pub fn schema_id(event_type: EventType) -> wire::SchemaId {
    let position = EventType::ALL
        .iter()
        .position(|t| *t == event_type)
        .unwrap();
    wire::SchemaId(u32::try_from(position).unwrap() + 1)
}

pub fn example(event_type: EventType) -> Payload {
    let path = format!(
        "{}/../../avro/examples/{event_type}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    plain_json::read(
        event_type,
        &serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap(),
    )
    .unwrap()
}

/// Someone follows something.
pub fn followed(user: Uuid, what: Uuid) -> Payload {
    let Payload::CourseFollowed(mut event) = example(EventType::CourseFollowed) else {
        panic!()
    };
    event.user_id = user;
    event.followed_id = what;
    Payload::CourseFollowed(event)
}

/// An event of a key for the [`Scripted`](super::scripted::Scripted) worker: its number within the
/// key, and what is special about it.
pub fn event(key: Uuid, sequence: i64, word: &str) -> RawRecord {
    let course = Uuid::from_u128(7);
    RawRecord::of(&followed(key, course))
        .set_header("ce_correlationid", &format!("{sequence} {word}"))
}

/// Sends a record with one more header, whose name need not be text: the Rust client cannot.
#[allow(unsafe_code)]
pub fn raw_with_header(bootstrap: &str, partition: i32, record: &RawRecord, name: &CStr) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .unwrap();
    let topic = CString::new(super::TOPIC).unwrap();
    let (key, value) = (
        record.key.as_deref().unwrap(),
        record.value.as_deref().unwrap(),
    );
    // SAFETY: all pointers outlive the calls; the record is copied (MSG_F_COPY), and the headers
    // belong to librdkafka once it has taken the record.
    unsafe {
        let headers = sys::rd_kafka_headers_new(1 + record.headers.len());
        let add = |name: &CStr, value: &[u8]| {
            let length = isize::try_from(value.len()).unwrap();
            sys::rd_kafka_header_add(headers, name.as_ptr(), -1, value.as_ptr().cast(), length);
        };
        for (name, value) in &record.headers {
            add(&CString::new(name.as_str()).unwrap(), value);
        }
        add(name, b"odd");
        let error = sys::rd_kafka_producev(
            producer.client().native_ptr(),
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC,
            topic.as_ptr(),
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
            partition,
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
            2,
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY,
            key.as_ptr(),
            key.len(),
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
            value.as_ptr(),
            value.len(),
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
            headers,
            sys::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
        );
        assert_eq!(error, sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    producer.flush(super::PATIENCE).unwrap();
}
