//! The one place that calls librdkafka directly: asking for topic ids, which the safe wrapper does
//! not offer.
//!
//! Safety argument, for the whole module: every object that librdkafka hands out is owned by one
//! guard that destroys it once, in the reverse order of creation, and nothing borrowed from a
//! result outlives the event that owns it. The client outlives the call, because it is borrowed
//! for its whole length.
#![allow(unsafe_code)]

use rdkafka::client::{Client, ClientContext};
use rdkafka_sys as sys;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::time::Duration;
use uuid::Uuid;

struct Guard<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Guard<T> {
    /// `None` where librdkafka returned null.
    fn new(object: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        (!object.is_null()).then_some(Self(object, destroy))
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer is not null, came from the matching constructor, and this guard is
        // its only owner.
        unsafe { (self.1)(self.0) }
    }
}

/// The ids of topics, by name. A topic that the broker does not have is missing from the answer.
///
/// # Errors
/// What the broker or the client library said.
pub fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<BTreeMap<String, Uuid>, String> {
    let names: Vec<CString> = topics
        .iter()
        .map(|name| CString::new(*name).map_err(|e| e.to_string()))
        .collect::<Result<_, _>>()?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let rk = client.native_ptr();
    let null = || "the client library is out of memory".to_owned();

    // SAFETY: `names` and `pointers` outlive the calls; `rk` is a live client; each object goes
    // straight into a guard with its own destructor.
    let (collection, options, queue) = unsafe {
        let collection =
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let options = sys::rd_kafka_AdminOptions_new(
            rk,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        let queue = sys::rd_kafka_queue_new(rk);
        (
            Guard::new(collection, sys::rd_kafka_TopicCollection_destroy).ok_or_else(null)?,
            Guard::new(options, sys::rd_kafka_AdminOptions_destroy).ok_or_else(null)?,
            Guard::new(queue, sys::rd_kafka_queue_destroy).ok_or_else(null)?,
        )
    };
    let mut why: [c_char; 256] = [0; 256];
    // SAFETY: all pointers are live; the error buffer's size is given; the event is guarded.
    let event = unsafe {
        sys::rd_kafka_AdminOptions_set_request_timeout(
            options.0,
            millis,
            why.as_mut_ptr(),
            why.len(),
        );
        sys::rd_kafka_DescribeTopics(rk, collection.0, options.0, queue.0);
        let event = sys::rd_kafka_queue_poll(queue.0, millis.saturating_add(1000));
        Guard::new(event, sys::rd_kafka_event_destroy)
            .ok_or_else(|| format!("the broker did not describe its topics within {millis} ms"))?
    };
    // SAFETY: the event is live until the end of this function; strings and ids are copied out.
    unsafe {
        let error = sys::rd_kafka_event_error(event.0);
        if error != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(sys::rd_kafka_event_error_string(event.0)));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            return Err("the broker answered with something else than topics".to_owned());
        }
        let mut count = 0;
        let described = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let mut ids = BTreeMap::new();
        for index in 0..count {
            let topic = *described.add(index);
            let problem = sys::rd_kafka_TopicDescription_error(topic);
            let code = sys::rd_kafka_error_code(problem);
            if code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART {
                continue;
            }
            if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(text(sys::rd_kafka_error_string(problem)));
            }
            let id = sys::rd_kafka_TopicDescription_topic_id(topic);
            let high = sys::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
            let low = sys::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
            ids.insert(
                text(sys::rd_kafka_TopicDescription_name(topic)),
                Uuid::from_u64_pair(high, low),
            );
        }
        Ok(ids)
    }
}

/// # Safety
/// `string` is null or a NUL-terminated string that lives during the call.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return "unknown error".to_owned();
    }
    // SAFETY: by this function's own contract.
    unsafe { CStr::from_ptr(string) }
        .to_string_lossy()
        .into_owned()
}
