//! Settings as a file or an environment spells them, for `#[serde(with = "..")]` at the fields: a module
//! for each form.
//!
//! - [`plain`]: a number, a flag, or a duration with its unit, such as `"5s"`.
//! - [`or_off`], [`or_default`]: the same, or a word for `None`. TOML has no null, and where a file leaves
//!   a field out, it keeps its default; so `None` has a word.
//! - [`table_or_off`]: a table, or the word.
//! - [`given`]: a field of a table whose other fields say whether it must be there.
//!
//! An environment gives texts, so each form reads numbers and flags from texts too. The forms check what a
//! text means and no more: whether a value makes sense is for `build` and `set_config` to say.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use ::serde::de::{Error, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer};
use ::serde::{Deserialize, Deserializer, Serializer};

/// A value that a file spells as one number, flag or text.
pub(crate) trait Scalar: Sized {
    /// What the file should have, for an error about what it has.
    const EXPECTED: &'static str;

    fn of_text(text: &str) -> Option<Self>;

    fn of_whole(_: i128) -> Option<Self> {
        None
    }

    fn of_fraction(_: f64) -> Option<Self> {
        None
    }

    fn of_flag(_: bool) -> Option<Self> {
        None
    }

    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error>;
}

impl Scalar for Duration {
    const EXPECTED: &'static str = r#"a duration with its unit, such as "5s" or "1m 30s""#;

    fn of_text(text: &str) -> Option<Self> {
        // humantime takes "0", which no form of a number without a unit may mean here. It panics where terms
        // add up to the first second that does not fit, so it reads each term by itself.
        let (mut sum, mut rest) = (Self::ZERO, text);
        loop {
            let unit = rest.find(char::is_alphabetic)?;
            let next = rest[unit..].find(|c: char| c.is_ascii_digit()).map(|at| unit + at);
            let (term, later) = rest.split_at(next.unwrap_or(rest.len()));
            sum = sum.checked_add(humantime::parse_duration(term).ok()?)?;
            if later.is_empty() {
                return Some(sum);
            }
            rest = later;
        }
    }

    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*self))
    }
}

impl Scalar for u32 {
    const EXPECTED: &'static str = "a whole number up to 4294967295";

    fn of_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn of_whole(number: i128) -> Option<Self> {
        number.try_into().ok()
    }

    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(*self)
    }
}

impl Scalar for usize {
    const EXPECTED: &'static str = "a whole number";

    fn of_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn of_whole(number: i128) -> Option<Self> {
        number.try_into().ok()
    }

    /// Writes a text where the number is more than TOML's largest.
    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(*self) {
            Ok(number) => to.serialize_i64(number),
            Err(_) => to.collect_str(self),
        }
    }
}

impl Scalar for f64 {
    const EXPECTED: &'static str = "a number";

    fn of_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn of_whole(number: i128) -> Option<Self> {
        Some(number as Self)
    }

    fn of_fraction(number: f64) -> Option<Self> {
        Some(number)
    }

    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(*self)
    }
}

impl Scalar for bool {
    const EXPECTED: &'static str = "true or false";

    fn of_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn of_flag(flag: bool) -> Option<Self> {
        Some(flag)
    }

    fn write<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bool(*self)
    }
}

/// Reads a `V` from a scalar, or from a word.
struct Reader<T, V> {
    of: fn(T) -> V,
    word: Option<NamedValue<V>>,
}

struct NamedValue<V> {
    text: &'static str,
    means: fn() -> V,
}

impl<T: Scalar> Reader<T, Option<T>> {
    fn or(word: &'static str) -> Self {
        Self { of: Some, word: Some(NamedValue { text: word, means: || None }) }
    }
}

impl<T: Scalar, V> Reader<T, V> {
    fn found<E: Error>(self, found: Option<T>, there: Unexpected<'_>) -> Result<V, E> {
        found.map(self.of).ok_or_else(|| E::invalid_value(there, &self))
    }
}

impl<T: Scalar, V> Visitor<'_> for Reader<T, V> {
    type Value = V;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)?;
        self.word.as_ref().map_or(Ok(()), |word| write!(f, ", or {:?}", word.text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V, E> {
        match &self.word {
            Some(word) if word.text == text.trim() => Ok((word.means)()),
            _ => self.found(T::of_text(text.trim()), Unexpected::Str(text)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<V, E> {
        self.found(T::of_whole(number.into()), Unexpected::Signed(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<V, E> {
        self.found(T::of_whole(number.into()), Unexpected::Unsigned(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<V, E> {
        self.found(T::of_fraction(number), Unexpected::Float(number))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<V, E> {
        self.found(T::of_flag(flag), Unexpected::Bool(flag))
    }
}

pub(crate) mod plain {
    use super::*;

    pub(crate) fn serialize<T: Scalar, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        value.write(to)
    }

    pub(crate) fn deserialize<'de, T: Scalar, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        from.deserialize_any(Reader { of: |value: T| value, word: None })
    }
}

/// Makes the module of a form that has a word for `None`.
macro_rules! or_word {
    ($name:ident, $word:literal) => {
        pub(crate) mod $name {
            use super::*;

            pub(crate) fn serialize<T: Scalar, S: Serializer>(
                value: &Option<T>,
                to: S,
            ) -> Result<S::Ok, S::Error> {
                match value {
                    Some(value) => value.write(to),
                    None => to.serialize_str($word),
                }
            }

            pub(crate) fn deserialize<'de, T: Scalar, D: Deserializer<'de>>(
                from: D,
            ) -> Result<Option<T>, D::Error> {
                from.deserialize_any(Reader::or($word))
            }
        }
    };
}

or_word!(or_off, "off");
or_word!(or_default, "default");

pub(crate) mod given {
    use super::*;

    pub(crate) fn serialize<T: Scalar, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.write(to),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T: Scalar, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        plain::deserialize(from).map(Some)
    }
}

/// Reads a table, or the word for none.
struct TableReader<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for TableReader<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table, or \"off\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<T>, E> {
        match text.trim() {
            "off" => Ok(None),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Some)
    }
}

pub(crate) mod table_or_off {
    use super::*;

    pub(crate) fn serialize<T: ::serde::Serialize, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(table) => table.serialize(to),
            None => to.serialize_str("off"),
        }
    }

    pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        from.deserialize_any(TableReader(PhantomData))
    }
}
