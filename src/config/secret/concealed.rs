//! What is printed, without the values that nobody may read: the last wall, for the texts of
//! libraries and stores that quote what they were given.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use url::form_urlencoded;

/// Shorter values are not looked for: they are parts of ordinary words.
const LEAST_BYTES: usize = 6;

static VALUES: RwLock<Vec<Value>> = RwLock::new(Vec::new());

struct Value {
    /// As it is, inside quotation marks, and inside a URL.
    forms: Vec<SecretString>,
    shown: String,
}

/// From now on shows `shown` in place of `value` in all that is printed.
pub(crate) fn conceal(value: &SecretString, shown: &str) {
    let plain = value.expose_secret();
    if plain.len() < LEAST_BYTES {
        return;
    }
    let mut values = VALUES.write().unwrap_or_else(PoisonError::into_inner);
    let is_known = |known: &Value| known.forms.iter().any(|form| form.expose_secret() == plain);
    if values.iter().any(is_known) {
        return;
    }
    let quoted = Zeroizing::new(format!("{plain:?}"));
    let in_url: Zeroizing<String> =
        Zeroizing::new(form_urlencoded::byte_serialize(plain.as_bytes()).collect());
    let mut forms = vec![value.clone()];
    for form in [&quoted[1..quoted.len() - 1], in_url.as_str()] {
        if forms.iter().all(|known| known.expose_secret() != form) {
            forms.push(form.into());
        }
    }
    values.push(Value { forms, shown: shown.to_owned() });
    // A value may be a part of another.
    values.sort_by_key(|value| std::cmp::Reverse(value.forms[0].expose_secret().len()));
}

/// The text with every value that is to be concealed replaced.
pub(crate) fn concealed(text: &str) -> Cow<'_, str> {
    let values = VALUES.read().unwrap_or_else(PoisonError::into_inner);
    let mut text = Cow::Borrowed(text);
    for value in values.iter() {
        for form in &value.forms {
            if text.contains(form.expose_secret()) {
                text = Cow::Owned(text.replace(form.expose_secret(), &value.shown));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_concealed_in_every_form_it_is_printed_in() {
        assert_eq!(concealed("an unknown va\"lue/here"), "an unknown va\"lue/here");
        conceal(&"va\"lue/here".into(), "env:VALUE");
        conceal(&"va\"lue/here and on".into(), "env:LONGER");
        for form in ["va\"lue/here", "va\\\"lue/here", "va%22lue%2Fhere"] {
            assert_eq!(concealed(&format!("a {form} b")), "a env:VALUE b");
        }
        assert_eq!(concealed("<va\"lue/here and on>"), "<env:LONGER>");
    }

    #[test]
    fn a_value_that_is_a_part_of_words_is_left() {
        conceal(&"lake".into(), "env:LAKE");
        assert_eq!(concealed("sessionlake"), "sessionlake");
    }
}
