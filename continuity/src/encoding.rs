//! The one encoding of an object, format 1: a byte string that depends on what is in the object, and not on the changes
//! that made it. `docs/state.md` has it as a table.
//!
//! A value that is equal to that of the same key in the state before is not written again, so that states cost
//! what differs between them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use proto::SessionId;
use proto::time::WallTime;

use crate::codec::{Reader, Writer};
use crate::encoded::{Encoded, NotEncoded};
use crate::head::{Endpoint, Head, ObjectId, Operation, Status};
use crate::limits::{
    LATER_LEN_MAX, LATER_MAX, OBJECT_MAX, STACK_MAX, STATES_MAX, STEPS_MAX, VALUE_MAX, VALUES_MAX,
};
use crate::object::{Composite, Object, Step};
use crate::pool::Pool;
use crate::series::Series;
use crate::value::{PagedQuery, Reference, Value};

/// The format that is written, and the only one that is read.
const FORMAT: u8 = 1;

mod tag {
    pub(super) const SAME: u8 = 0;
    pub(super) const RAW: u8 = 1;
    pub(super) const STORE: u8 = 2;
    pub(super) const QUERY: u8 = 3;
    pub(super) const DIRECTORY: u8 = 4;
    pub(super) const FILE: u8 = 5;
}

/// The object has more in it than its encoding may hold. It is as it was; whoever put so much into it must take something
/// out or put less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the object has {0} bytes, of which it may have {OBJECT_MAX}")]
pub struct TooLarge(pub usize);

/// Why bytes are not an object. Whoever made them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They do not begin as an object does, or are too many.
    #[error(transparent)]
    NotEncoded(#[from] NotEncoded),
    /// They are of a later format.
    #[error("an object of format {0}, of which nothing is known here")]
    Format(u8),
    /// They are cut, or break a bound.
    #[error("not a readable object")]
    Malformed,
    /// They say what other bytes say by the rules.
    #[error("an object that is not in its canonical encoding")]
    NotCanonical,
}

impl Object {
    /// Its encoding.
    ///
    /// # Errors
    /// [`TooLarge`] when it would have more than [`OBJECT_MAX`] bytes.
    pub fn encode(&self) -> Result<Encoded, TooLarge> {
        let mut writer = Writer::default();
        writer.fixed(&Encoded::header(FORMAT, self.head.stamp));
        write_head(&mut writer, &self.head);
        write_pool(&mut writer, &self.global, None);
        writer.count(self.composites.len());
        for composite in &self.composites {
            writer.bytes(composite.name.as_str().as_bytes());
            write_series(&mut writer, &composite.states, write_step);
        }
        write_series(&mut writer, &self.interactive, write_pool);
        write_series(&mut writer, &self.application, write_pool);
        writer.count(self.later.len());
        for (number, bytes) in &self.later {
            writer.u8(*number);
            writer.bytes(bytes);
        }
        Encoded::open(&writer.0).map_err(|_| TooLarge(writer.0.len()))
    }

    /// The object of an encoding.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(encoded: &Encoded) -> Result<Self, DecodeError> {
        if encoded.format() != FORMAT {
            return Err(DecodeError::Format(encoded.format()));
        }
        let mut reader = Reader(encoded.body());
        let mut object = read(&mut reader).filter(|_| reader.0.is_empty()).ok_or(DecodeError::Malformed)?;
        object.head.stamp = encoded.stamp();
        if object.values() > VALUES_MAX {
            return Err(DecodeError::Malformed);
        }
        // The one rule of what is canonical: what the object would be written as.
        match object.encode() {
            Ok(again) if again.as_bytes() == encoded.as_bytes() => Ok(object),
            _ => Err(DecodeError::NotCanonical),
        }
    }
}

fn write_head(writer: &mut Writer, head: &Head) {
    writer.fixed(&head.session.0.to_be_bytes());
    writer.bytes(head.service.as_str().as_bytes());
    writer.bytes(head.scope.as_str().as_bytes());
    writer.u8(head.endpoint.is_some().into());
    if let Some(Endpoint { host, addr }) = &head.endpoint {
        writer.bytes(host.as_str().as_bytes());
        writer.fixed(&addr.ip().octets());
        writer.fixed(&addr.port().to_be_bytes());
    }
    writer.number(head.object.0);
    writer.u8(head.operation.is_some().into());
    if let Some(Operation { number, name, status }) = &head.operation {
        writer.number(*number);
        writer.bytes(name.as_str().as_bytes());
        writer.u8(match status {
            Status::Begun => 0,
            Status::Committed => 1,
            Status::Aborted => 2,
        });
    }
    writer.u8(head.expiry.is_some().into());
    if let Some(expiry) = head.expiry {
        writer.number(expiry.as_micros());
    }
}

fn write_series<S>(writer: &mut Writer, series: &Series<S>, write: fn(&mut Writer, &S, Option<&S>)) {
    writer.count(series.count());
    writer.count(series.number());
    let mut before = None;
    for state in series.states() {
        write(writer, state, before);
        before = Some(state);
    }
}

fn write_step(writer: &mut Writer, step: &Step, before: Option<&Step>) {
    write_pool(writer, &step.values, before.map(|before| &before.values));
    writer.count(step.simple.len());
    for (name, pool) in &step.simple {
        writer.bytes(name.as_str().as_bytes());
        write_pool(writer, pool, before.and_then(|before| before.simple.get(name)));
    }
}

fn write_pool(writer: &mut Writer, pool: &Pool, before: Option<&Pool>) {
    writer.count(pool.len());
    for (key, value) in pool.sorted() {
        writer.bytes(key.as_str().as_bytes());
        if before.and_then(|before| before.get(key)) == Some(value) {
            writer.u8(tag::SAME);
        } else {
            write_value(writer, value);
        }
    }
}

fn write_value(writer: &mut Writer, value: &Value) {
    let mut tagged = |tag: u8, bytes: &[u8]| {
        writer.u8(tag);
        writer.bytes(bytes);
    };
    match value {
        Value::Raw(bytes) => tagged(tag::RAW, bytes),
        Value::Reference(Reference::Store(key)) => tagged(tag::STORE, key.as_str().as_bytes()),
        Value::Reference(Reference::Directory(path)) => tagged(tag::DIRECTORY, path.as_str().as_bytes()),
        Value::Reference(Reference::File(path)) => tagged(tag::FILE, path.as_str().as_bytes()),
        Value::Reference(Reference::Query(PagedQuery { text, page_size, position })) => {
            tagged(tag::QUERY, text.as_str().as_bytes());
            writer.number(u64::from(*page_size));
            writer.number(*position);
        }
    }
}

fn read(reader: &mut Reader<'_>) -> Option<Object> {
    let session = SessionId(u128::from_be_bytes(reader.fixed()?));
    let mut object = Object::new(session, reader.name()?);
    read_head(reader, &mut object.head)?;
    object.global = read_pool(reader, None)?;
    for _ in 0..reader.count(STACK_MAX)? {
        let name = reader.name()?;
        object.composites.push(Composite { name, states: read_series(reader, read_step)? });
    }
    object.interactive = read_series(reader, read_pool)?;
    object.application = read_series(reader, read_pool)?;
    for _ in 0..reader.count(LATER_MAX)? {
        let number = reader.u8()?;
        object.later.insert(number, reader.bytes(LATER_LEN_MAX)?.into());
    }
    Some(object)
}

fn read_head(reader: &mut Reader<'_>, head: &mut Head) -> Option<()> {
    head.scope = reader.name()?;
    if reader.u8()? != 0 {
        let host = reader.name()?;
        let ip = Ipv4Addr::from(reader.fixed::<4>()?);
        let port = u16::from_be_bytes(reader.fixed()?);
        head.endpoint = Some(Endpoint { host, addr: SocketAddrV4::new(ip, port) });
    }
    head.object = ObjectId(reader.number()?);
    if reader.u8()? != 0 {
        let (number, name) = (reader.number()?, reader.name()?);
        let status = match reader.u8()? {
            0 => Status::Begun,
            1 => Status::Committed,
            2 => Status::Aborted,
            _ => return None,
        };
        head.operation = Some(Operation { number, name, status });
    }
    if reader.u8()? != 0 {
        head.expiry = Some(WallTime::from_micros(reader.number()?));
    }
    Some(())
}

fn read_series<S>(
    reader: &mut Reader<'_>,
    read: fn(&mut Reader<'_>, Option<&S>) -> Option<S>,
) -> Option<Series<S>> {
    let (count, number) = (reader.count(STATES_MAX)?, reader.count(STATES_MAX)?);
    let mut states = Vec::new();
    for _ in 0..count {
        let state = read(reader, states.last())?;
        states.push(state);
    }
    Series::from_states(states, number)
}

fn read_step(reader: &mut Reader<'_>, before: Option<&Step>) -> Option<Step> {
    let values = read_pool(reader, before.map(|before| &before.values))?;
    let mut simple = BTreeMap::new();
    for _ in 0..reader.count(STEPS_MAX)? {
        let name = reader.name()?;
        let pool = read_pool(reader, before.and_then(|before| before.simple.get(&name)))?;
        // A simple step is there by its values.
        if pool.is_empty() {
            return None;
        }
        simple.insert(name, pool);
    }
    Some(Step { values, simple })
}

fn read_pool(reader: &mut Reader<'_>, before: Option<&Pool>) -> Option<Pool> {
    let mut pool = Pool::default();
    for _ in 0..reader.count(VALUES_MAX)? {
        let key = reader.name()?;
        let value = match reader.u8()? {
            tag::SAME => before?.get(&key)?.clone(),
            tag => read_value(reader, tag)?,
        };
        pool.put(key, value);
    }
    Some(pool)
}

fn read_value(reader: &mut Reader<'_>, tag: u8) -> Option<Value> {
    Some(Value::Reference(match tag {
        tag::RAW => return Some(Value::Raw(Arc::from(reader.bytes(VALUE_MAX)?))),
        tag::STORE => Reference::Store(reader.name()?),
        tag::DIRECTORY => Reference::Directory(reader.name()?),
        tag::FILE => Reference::File(reader.name()?),
        tag::QUERY => Reference::Query(PagedQuery {
            text: reader.name()?,
            page_size: u32::try_from(reader.number()?).ok()?,
            position: reader.number()?,
        }),
        _ => return None,
    }))
}
