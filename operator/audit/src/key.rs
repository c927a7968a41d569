//! The key of a program's audit chains. Who holds it can forge records, so it leaves its Secret for this type alone.

use crate::record::Mac;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of a key: as many as a MAC has, so that neither is the weaker part.
const KEY_BYTES: usize = 32;
/// Block size of SHA-256.
const BLOCK_BYTES: usize = 64;
/// What a key's name is the MAC of. No record starts like this, so it never collides with one.
const ID_INPUT: &[u8] = b"exeat.dev/v1 audit key id";

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an audit key is {} hexadecimal digits, as in the Secret's entry \"key\"", 2 * KEY_BYTES)]
pub struct KeyError;

/// A key for HMAC-SHA-256 (RFC 2104), zeroized on drop and hidden in `Debug`.
#[derive(Clone)]
pub struct Key {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    id: String,
}

impl Key {
    /// A new random key.
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        rand::fill(&mut bytes[..]);
        Self::of(bytes)
    }

    /// Reads a key as [`Key::to_text`] writes it; white space around it does no harm.
    ///
    /// # Errors
    /// When the text is anything else. The text is not repeated.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        hex::decode_to_slice(text.trim(), &mut bytes[..]).map_err(|_| KeyError)?;
        Ok(Self::of(bytes))
    }

    fn of(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let mut key = Self { bytes, id: String::new() };
        key.id = key.mac(ID_INPUT).to_string()[..16].to_owned();
        key
    }

    /// The key as hexadecimal digits, for the Secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(&self.bytes[..]))
    }

    /// What records call the key: 16 hexadecimal digits that tell nothing of it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The MAC of `bytes`.
    pub fn mac(&self, bytes: &[u8]) -> Mac {
        Mac::new(self.hmac(bytes).finalize().into_bytes().into())
    }

    /// Whether `mac` is the MAC of `bytes`, in constant time.
    pub fn proves(&self, bytes: &[u8], mac: &Mac) -> bool {
        self.hmac(bytes).verify_slice(mac.as_bytes()).is_ok()
    }

    fn hmac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        // A key shorter than SHA-256's block is padded with zeros (RFC 2104, section 2).
        let mut block = Zeroizing::new([0_u8; BLOCK_BYTES]);
        block[..KEY_BYTES].copy_from_slice(&self.bytes[..]);
        let mut hmac = <Hmac<Sha256> as KeyInit>::new((&*block).into());
        hmac.update(bytes);
        hmac
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2, whose key is shorter; zeros after it change nothing (RFC 2104).
    #[test]
    fn the_mac_is_hmac_sha_256() {
        let key = Key::parse(&format!("{:0<64}", hex::encode("Jefe"))).unwrap();
        let mac = key.mac(b"what do ya want for nothing?");
        assert_eq!(mac.to_string(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert!(key.proves(b"what do ya want for nothing?", &mac));
        assert!(!key.proves(b"what do ya want for nothing!", &mac));
    }

    #[test]
    fn a_key_reads_back_and_is_never_shown() {
        let key = Key::generate();
        let again = Key::parse(&format!(" {}\n", key.to_text().as_str())).unwrap();
        assert_eq!((again.id(), again.mac(b"x")), (key.id(), key.mac(b"x")));
        assert!(!format!("{key:?}").contains(key.to_text().as_str()));
        assert_ne!(Key::generate().id(), key.id());
        for text in ["", "zz", &"a".repeat(63), &"a".repeat(66)] {
            assert_eq!(Key::parse(text).unwrap_err(), KeyError);
        }
    }
}
