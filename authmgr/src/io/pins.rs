//! The keys of DTUs, where hosts have pinned them: in the data store.

use proto::Serial;

use super::store::{RegistryError, StoredRegistry, TRIES, Written};
use crate::admission::{Part, Pin, PinError, author_of, dtu_key, dtu_of, is_removal};

/// A key that is pinned.
#[derive(Debug)]
pub struct PinnedKey {
    /// To which serial.
    pub serial: Serial,
    /// The pin, or why it is none.
    pub pin: Result<Pin, PinError>,
    /// The host that pinned it, as far as the record says.
    pub by: Option<String>,
}

impl StoredRegistry {
    /// All keys that are pinned, in the order of serials.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn pins(&self) -> Result<Vec<PinnedKey>, RegistryError> {
        let entries = self.store.list(&Part::Dtus.prefix()).await?;
        let pinned = entries.into_iter().filter(|(_, value)| !is_removal(value.as_bytes()));
        let pinned = pinned.filter_map(|(key, value)| {
            let serial = dtu_of(&key)?;
            let pin = Pin::from_bytes(&serial, value.as_bytes());
            Some(PinnedKey { serial, pin, by: author_of(value.as_bytes()) })
        });
        Ok(pinned.collect())
    }

    /// Forgets the key that is pinned to a serial, a damaged record too: the next key that is proved is pinned. As with
    /// records of tokens, hosts learn from a last record who ordered it.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn forget_dtu(&self, serial: &Serial) -> Result<Written, RegistryError> {
        let key = dtu_key(serial);
        let mut stored = self.store.get(&key).await?;
        for _ in 0..TRIES {
            if stored.is_none() {
                return Err(RegistryError::NotPinned(serial.clone()));
            }
            let last = self.signed(&Pin::removal(serial))?;
            match self.swap(&key, stored, Some(last.clone())).await? {
                Ok(_) => match self.swap(&key, Some(last), None).await? {
                    Ok(written) => return Ok(written),
                    Err(current) => stored = current,
                },
                Err(current) => stored = current,
            }
        }
        Err(RegistryError::Busy(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datastore::Value;
    use datastore::io::{Memory, Store as _};
    use std::sync::Arc;

    #[test]
    fn a_pin_is_listed_and_forgotten_and_so_is_a_damaged_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let memory = Arc::new(Memory::default());
            let registry = StoredRegistry::new(Arc::clone(&memory) as _, "root@a");
            let (good, bad): (Serial, Serial) =
                ("080020000001".parse().unwrap(), "080020000002".parse().unwrap());
            let pin = Pin { serial: good.clone(), key: proto::DtuKey([7; 32]) };
            let put = |serial: &Serial, text: String| {
                let value = Value::new(text.as_bytes()).unwrap();
                let (memory, key) = (Arc::clone(&memory), dtu_key(serial));
                async move { memory.put(&key, value).await.unwrap() }
            };
            put(&good, pin.to_line("a").to_string()).await;
            put(&bad, "dtu key=1".into()).await;
            let listed = registry.pins().await.unwrap();
            assert_eq!((&listed[0].pin, listed[0].by.as_deref()), (&Ok(pin), Some("a")));
            assert!(listed.len() == 2 && listed[1].pin.is_err());
            for serial in [&good, &bad] {
                registry.forget_dtu(serial).await.unwrap();
                let again = registry.forget_dtu(serial).await.unwrap_err().to_string();
                assert!(again.contains("authmgr dtu list"), "{again}");
            }
            assert!(registry.pins().await.unwrap().is_empty());
        });
    }
}
