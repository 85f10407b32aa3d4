//! A DTU's own key: made at its first boot, shown in TLS by a certificate that it signs itself, and asked for by the
//! listeners that DTUs connect to.
//!
//! Nobody vouches for such a certificate, so all that it says is ignored, its names and times and its signature too. What
//! counts is the public key in it and that the handshake is signed with the private one. A client without a certificate
//! is served as well: whether it may come is decided where its serial is known.

use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{DtuKey, Serial};

/// Largest certificate of a DTU that is looked at, in bytes. Ours have some 200.
pub const CERT_MAX: usize = 2048;

/// What a DTU may sign with: our own kind, and the one that hardware for keys most often has. Others cost a host more.
const SCHEMES: [SignatureScheme; 2] = [SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256];

/// PKCS #8 around the 32 bytes of an Ed25519 key (RFC 8410).
const PKCS8_HEAD: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// The private key of a DTU: an Ed25519 one, which 32 random bytes make.
#[derive(Clone)]
pub struct DtuSecret(Zeroizing<[u8; 32]>);

impl DtuSecret {
    /// The key that these bytes make. They have to be random, and secret.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key of a DTU that is one of many: derived, so that nothing has to be kept for each.
    #[must_use]
    pub fn derived(&self, serial: &Serial) -> Self {
        // A key of 32 bytes suits every HMAC.
        let mac = Hmac::<Sha256>::new_from_slice(&self.0[..]).ok();
        let bytes = mac.map(|mac| mac.chain_update(serial.as_str()).finalize().into_bytes().into());
        Self::new(bytes.unwrap_or_default())
    }

    /// The bytes, for whoever keeps them.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for DtuSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DtuSecret")
    }
}

/// What a DTU proves itself with: its key, and the certificate that shows it.
#[derive(Clone, Debug)]
pub struct DtuIdentity {
    shown: Arc<SingleCertAndKey>,
    key: DtuKey,
}

impl DtuIdentity {
    /// The identity of this key; the certificate is made anew.
    ///
    /// # Errors
    /// What rcgen or rustls says.
    pub fn new(secret: &DtuSecret) -> Result<Self, String> {
        let der = Zeroizing::new([&PKCS8_HEAD[..], &secret.0[..]].concat());
        let der = PrivatePkcs8KeyDer::from(der.as_slice());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).map_err(|e| e.to_string())?;
        // A certificate says nothing but its key.
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let cert = params.self_signed(&pair).map_err(|e| e.to_string())?;
        let private = PrivatePkcs8KeyDer::from(pair.serialize_der());
        Self::of_cert(vec![cert.der().clone()], private.into())
    }

    /// The identity of a key of another kind, with the certificate that shows it.
    ///
    /// # Errors
    /// When the certificate or the key is none.
    pub fn of_cert(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, String> {
        let signer = super::provider().key_provider.load_private_key(key).map_err(|e| e.to_string())?;
        let key = chain.first().and_then(key_in).ok_or("a certificate without a key")?;
        Ok(Self { shown: Arc::new(CertifiedKey::new(chain, signer).into()), key })
    }

    /// The fingerprint of its public key, by which hosts know it.
    #[must_use]
    pub const fn key(&self) -> DtuKey {
        self.key
    }

    /// The same configuration of a client, which proves this key to whoever asks for one.
    #[must_use]
    pub fn prove(&self, client: &ClientConfig) -> Arc<ClientConfig> {
        let mut client = client.clone();
        client.client_auth_cert_resolver = Arc::clone(&self.shown) as _;
        Arc::new(client)
    }
}

/// A server that shows `chain` and asks its clients for their own keys.
///
/// # Errors
/// When the key is not the certificate's.
pub fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, String> {
    super::server_asking(Arc::new(AnyKey), chain, key)
}

/// The key that the other end of a connection has proved, if it has proved one: `chain` is what rustls has of it once the
/// handshake is over.
#[must_use]
pub fn proved_by(chain: Option<&[CertificateDer<'_>]>) -> Option<DtuKey> {
    chain?.first().and_then(key_in)
}

/// The fingerprint of the public key in a certificate.
fn key_in(cert: &CertificateDer<'_>) -> Option<DtuKey> {
    let parsed = ParsedCertificate::try_from(cert).ok()?;
    Some(DtuKey(Sha256::digest(parsed.subject_public_key_info()).into()))
}

/// Takes whatever certificate holds a key, alone and not too large.
#[derive(Debug)]
struct AnyKey;

impl ClientCertVerifier for AnyKey {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if end_entity.len() > CERT_MAX || !intermediates.is_empty() {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        key_in(end_entity).ok_or(CertificateError::BadEncoding)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if !SCHEMES.contains(&dss.scheme) {
            return Err(CertificateError::BadSignature.into());
        }
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

fn algorithms() -> rustls::crypto::WebPkiSupportedAlgorithms {
    super::PROVIDER.signature_verification_algorithms
}

#[cfg(test)]
mod tests {
    use super::super::tests::shake_hands;
    use super::super::{client_of_fingerprint, ephemeral};
    use super::*;
    use rustls::Error::InvalidCertificate;

    /// A host's listener for DTUs, and a client that believes it.
    fn host() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let ((cert, key), fingerprint) = ephemeral().unwrap();
        (server(vec![cert], key).unwrap(), client_of_fingerprint(fingerprint).unwrap())
    }

    fn dtu(byte: u8) -> DtuIdentity {
        DtuIdentity::new(&DtuSecret::new([byte; 32])).unwrap()
    }

    /// Which key the host learns.
    fn learned(
        host: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
    ) -> Result<Option<DtuKey>, rustls::Error> {
        let (_, server) = shake_hands(client, host)?;
        Ok(proved_by(server.peer_certificates()))
    }

    /// A DTU that shows `chain` and signs with the key of the byte.
    fn showing(chain: Vec<CertificateDer<'static>>, byte: u8) -> Arc<CertifiedKey> {
        let der = [&PKCS8_HEAD[..], &[byte; 32]].concat();
        let key =
            super::super::provider().key_provider.load_private_key(PrivatePkcs8KeyDer::from(der).into());
        Arc::new(CertifiedKey::new(chain, key.unwrap()))
    }

    fn cert_of(byte: u8) -> CertificateDer<'static> {
        use rustls::client::ResolvesClientCert as _;
        dtu(byte).shown.resolve(&[], &[]).unwrap().cert[0].clone()
    }

    #[test]
    fn a_host_learns_the_key_of_a_dtu_and_it_is_the_same_at_every_boot() {
        let (host, client) = host();
        assert_eq!(learned(&host, &dtu(1).prove(&client)), Ok(Some(dtu(1).key())));
        assert_ne!(dtu(1).key(), dtu(2).key());
        let ((cert, key), _) = ephemeral().unwrap();
        let p256 = DtuIdentity::of_cert(vec![cert], key).unwrap();
        assert_eq!(learned(&host, &p256.prove(&client)), Ok(Some(p256.key())));
    }

    #[test]
    fn a_terminal_without_a_key_is_served_and_who_does_not_ask_is_shown_none() {
        let (host, client) = host();
        assert_eq!(learned(&host, &client), Ok(None));
        let ((cert, key), fingerprint) = ephemeral().unwrap();
        let display = super::super::server(vec![cert], key).unwrap();
        let client = client_of_fingerprint(fingerprint).unwrap();
        assert_eq!(learned(&display, &dtu(1).prove(&client)), Ok(None));
    }

    #[test]
    fn a_signature_that_is_not_of_the_shown_key_is_refused() {
        let (host, client) = host();
        let mut thief = (*client).clone();
        thief.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(showing(vec![cert_of(1)], 2)));
        let refused = learned(&host, &Arc::new(thief));
        assert_eq!(refused, Err(InvalidCertificate(CertificateError::BadSignature)));
    }

    #[test]
    fn what_is_no_certificate_or_a_chain_or_too_large_is_refused() {
        let (host, client) = host();
        let junk = CertificateDer::from(b"no certificate at all".to_vec());
        let large = CertificateDer::from([cert_of(1).as_ref(), &[0; CERT_MAX]].concat());
        let cut = CertificateDer::from(cert_of(1)[..100].to_vec());
        let chains =
            [vec![junk], vec![large], vec![cut], vec![cert_of(1), cert_of(2)], vec![cert_of(1); 200]];
        for chain in chains {
            let mut client = (*client).clone();
            let (n, first) = (chain.len(), chain[0].len());
            client.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(showing(chain, 1)));
            let refused = learned(&host, &Arc::new(client));
            assert!(matches!(refused, Err(InvalidCertificate(_))), "{n} of {first}: {refused:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_shown_as_a_certificate_is_judged(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
            at in 0..200_usize,
            byte: u8,
        ) {
            drop(AnyKey.verify_client_cert(&CertificateDer::from(bytes), &[], UnixTime::now()));
            let mut mutant = cert_of(1).as_ref().to_vec();
            if let Some(place) = mutant.get_mut(at) {
                *place = byte;
            }
            drop(AnyKey.verify_client_cert(&CertificateDer::from(mutant), &[], UnixTime::now()));
        }
    }
}
