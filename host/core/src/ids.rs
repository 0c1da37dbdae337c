//! The ids of operations, executions and principals, and how they are hashed from parts: `design/keys.md`.

use std::fmt;
use std::str::FromStr;

/// The ledger's secret. Every id and fingerprint is a hash keyed with it. So nobody can guess keys from ids,
/// and the ids of one ledger mean nothing to another.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A secret of 32 random bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret's bytes. They are stored with the ledger and nowhere else.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The kind of a framed part. Two parts of different kinds never hash alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PartKind {
    /// The deployment's name.
    Deployment = 1,
    /// The principal, hashed.
    Principal = 2,
    /// The policy's name.
    Policy = 3,
    /// The key schema under which the key was made.
    KeySchema = 4,
    /// The operator's key epoch.
    KeyEpoch = 5,
    /// `text` of a key.
    Text = 16,
    /// `bytes` of a key.
    Bytes = 17,
    /// The request's method.
    Method = 18,
    /// The request's authority.
    Authority = 19,
    /// The request's path.
    Path = 20,
    /// The request's query.
    Query = 21,
    /// The bytes of the body.
    Body = 22,
    /// A canonical document.
    Document = 23,
    /// The pointers by which a document was shaped.
    Shape = 24,
    /// A part that the request does not have.
    Missing = 25,
    /// The kind and name of a principal's source.
    SourceName = 32,
    /// The value of a principal's source.
    SourceValue = 33,
    /// A fingerprint, with the number of its recipe in front.
    Fingerprint = 34,
}

/// Hashes framed parts. Each has its kind and length in front, so that ("a", "bc") and ("ab", "c") never hash
/// alike.
#[derive(Clone)]
pub struct Framer(blake3::Hasher);

impl Framer {
    /// A hash keyed with the ledger's secret. `purpose` keeps hashes of different use apart.
    fn new(secret: &Secret, purpose: &[u8; 8]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&secret.0);
        hasher.update(purpose);
        Self(hasher)
    }

    /// A framer for an operation id. Principal and key space go in first, so that no part from a policy can
    /// reach across them.
    pub fn operation(
        secret: &Secret,
        deployment: &str,
        principal: &PrincipalId,
        space: &KeySpace<'_>,
    ) -> Self {
        let mut framer = Self::new(secret, b"operatn1");
        framer.part(PartKind::Deployment, deployment.as_bytes());
        framer.part(PartKind::Principal, &principal.0);
        framer.space(space);
        framer
    }

    /// A framer for the common key of an operation. The operation shares that key with the same content under
    /// the same key of any other principal (`design/principal.md`, `principal_changed`). No common key equals
    /// an operation id.
    pub fn common(
        secret: &Secret,
        deployment: &str,
        space: &KeySpace<'_>,
        fingerprint: &Fingerprint,
    ) -> Self {
        let mut framer = Self::new(secret, b"anybody1");
        framer.part(PartKind::Deployment, deployment.as_bytes());
        framer.space(space);
        let mut print = [fingerprint.recipe as u8; 33];
        print[1..].copy_from_slice(&fingerprint.hash);
        framer.part(PartKind::Fingerprint, &print);
        framer
    }

    fn space(&mut self, space: &KeySpace<'_>) {
        self.part(PartKind::Policy, space.policy.as_bytes());
        self.part(PartKind::KeySchema, space.key_schema.as_bytes());
        self.part(PartKind::KeyEpoch, &space.key_epoch.to_le_bytes());
    }

    /// A framer for a fingerprint.
    pub fn fingerprint(secret: &Secret) -> Self {
        Self::new(secret, b"fingerp1")
    }

    /// A framer for a principal.
    pub fn principal(secret: &Secret) -> Self {
        Self::new(secret, b"princip1")
    }

    /// Adds one part.
    pub fn part(&mut self, kind: PartKind, bytes: &[u8]) {
        self.0.update(&[kind as u8]);
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// The id of the operation whose parts went in.
    pub fn into_operation(self) -> OperationId {
        OperationId(*self.0.finalize().as_bytes())
    }

    /// The fingerprint whose parts went in, made by `recipe`.
    pub fn into_fingerprint(self, recipe: Recipe) -> Fingerprint {
        Fingerprint { recipe, hash: *self.0.finalize().as_bytes() }
    }

    /// The principal whose sources went in.
    pub fn into_principal(self) -> PrincipalId {
        PrincipalId(*self.0.finalize().as_bytes())
    }
}

/// The space within which keys can be equal: one policy name, key schema and key epoch.
#[derive(Clone, Copy, Debug)]
pub struct KeySpace<'a> {
    /// The policy's name in the configuration.
    pub policy: &'a str,
    /// The name that the policy's plan gives to its way of making keys.
    pub key_schema: &'a str,
    /// The operator's number, which is raised to say that keys change.
    pub key_epoch: u64,
}

/// The principal of a request, as the host established it: a keyed hash of its sources.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PrincipalId(pub [u8; 32]);

/// The number of a key space of one policy, counted from when each was first active. A space that leaves the
/// list and comes back has the same number, and no number is given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceNumber(pub u32);

impl fmt::Display for SpaceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a gateway of this ledger, for as long as its process lives. Random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayId(pub [u8; 16]);

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The id of one intended effect: 256 bits, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub [u8; 32]);

/// The id of one execution of an operation. Random, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExecutionId(pub [u8; 16]);

/// How a fingerprint is made. Fingerprints of different recipes are never equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Recipe {
    /// Method, authority, path, query and the bytes of the body.
    Request = 1,
    /// Method, authority, path, query and the shaped document.
    Document = 2,
    /// The parts that the policy named.
    Parts = 3,
    /// Nothing but the key.
    KeyOnly = 4,
}

impl Recipe {
    /// The recipe with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Request, Self::Document, Self::Parts, Self::KeyOnly].into_iter().find(|r| *r as u8 == number)
    }
}

/// A hash of everything that must be equal for a reused key to mean the same operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// How the hash is made.
    pub recipe: Recipe,
    /// The keyed hash.
    pub hash: [u8; 32],
}

/// Two lower-case hexadecimal digits a byte. `M` is twice `N`.
fn hex_digits<const N: usize, const M: usize>(bytes: &[u8; N]) -> [u8; M] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; M];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    digits
}

fn read_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// The text is not an id: 64 lower-case hexadecimal digits were expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an operation id is 64 lower-case hexadecimal digits")]
pub struct InvalidId;

impl FromStr for OperationId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        read_hex(text).map(Self).ok_or(InvalidId)
    }
}

macro_rules! reads_as_hex {
    ($($name:ident: $digits:literal),*) => {$(
        impl $name {
            /// The id as lower-case hexadecimal digits. Every guarded answer has them, so this does not go
            /// through the formatting machinery.
            pub fn digits(&self) -> [u8; $digits] {
                hex_digits(&self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(std::str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}
reads_as_hex!(OperationId: 64, ExecutionId: 32, PrincipalId: 64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(parts: &[(PartKind, Vec<u8>)]) -> OperationId {
        let space = KeySpace { policy: "p", key_schema: "s", key_epoch: 0 };
        let mut framer = Framer::operation(&Secret::new([7; 32]), "default", &PrincipalId([0; 32]), &space);
        for (kind, bytes) in parts {
            framer.part(*kind, bytes);
        }
        framer.into_operation()
    }

    fn parts() -> impl Strategy<Value = Vec<(PartKind, Vec<u8>)>> {
        let kind = prop_oneof![Just(PartKind::Text), Just(PartKind::Bytes), Just(PartKind::Missing)];
        prop::collection::vec((kind, prop::collection::vec(0_u8..3, 0..4)), 0..4)
    }

    proptest! {
        #[test]
        fn equal_ids_mean_equal_parts(a in parts(), b in parts()) {
            prop_assert_eq!(of(&a) == of(&b), a == b);
        }

        #[test]
        fn an_id_reads_back_as_written(bytes: [u8; 32]) {
            let id = OperationId(bytes);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn every_part_of_an_identity_separates_ids() {
        let make = |secret: u8, deployment: &str, principal: u8, policy: &str, schema: &str, epoch: u64| {
            let space = KeySpace { policy, key_schema: schema, key_epoch: epoch };
            Framer::operation(&Secret::new([secret; 32]), deployment, &PrincipalId([principal; 32]), &space)
                .into_operation()
        };
        let all = [
            make(1, "d", 1, "p", "s", 0),
            make(2, "d", 1, "p", "s", 0),
            make(1, "e", 1, "p", "s", 0),
            make(1, "d", 2, "p", "s", 0),
            make(1, "d", 1, "q", "s", 0),
            make(1, "d", 1, "p", "t", 0),
            make(1, "d", 1, "p", "s", 1),
            make(1, "d", 1, "ps", "", 0),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b), "{i}");
        }
    }

    #[test]
    fn a_common_key_equals_no_operation_id() {
        let secret = Secret::new([1; 32]);
        let (space, other) = (
            KeySpace { policy: "p", key_schema: "s", key_epoch: 0 },
            KeySpace { policy: "p", key_schema: "s", key_epoch: 1 },
        );
        let common = |deployment: &str, space: &KeySpace<'_>, recipe, content: u8, key: &[u8]| {
            let fingerprint = Fingerprint { recipe, hash: [content; 32] };
            let mut framer = Framer::common(&secret, deployment, space, &fingerprint);
            framer.part(PartKind::Text, key);
            framer.into_operation()
        };
        let mut operation = Framer::operation(&secret, "d", &PrincipalId([0; 32]), &space);
        operation.part(PartKind::Text, b"k");
        let all = [
            common("d", &space, Recipe::Request, 1, b"k"),
            common("d", &space, Recipe::Request, 1, b"l"),
            common("d", &space, Recipe::Request, 2, b"k"),
            common("d", &space, Recipe::KeyOnly, 1, b"k"),
            common("d", &other, Recipe::Request, 1, b"k"),
            common("e", &space, Recipe::Request, 1, b"k"),
            operation.into_operation(),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b), "{i}");
        }
        assert_eq!(all[0], common("d", &space, Recipe::Request, 1, b"k"), "whoever asks");
    }

    #[test]
    fn ids_in_capitals_are_refused() {
        for text in ["", "00", &"A".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
            assert_eq!(text.parse::<OperationId>(), Err(InvalidId));
        }
    }
}
