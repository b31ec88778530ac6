//! PEM keys as they arrive from variables and files.

/// The beginning of a PEM key, which no path contains.
pub(crate) const PEM: &str = "-----BEGIN";

/// The length of a line of the data (RFC 7468 section 2).
const LINE: usize = 64;

/// Returns the first PEM block of a text, with the line breaks that RFC 7468 requires.
///
/// Files for variables (`docker --env-file`, compose, systemd) change a key on its way: a line break becomes `\n`
/// as two characters or a space, lines are indented, quotes stay around it. Editors add a byte order mark. A text
/// without a complete block is returned unchanged, so that its reader names the fault.
pub(super) fn normalised(text: &str) -> String {
    block(text).unwrap_or_else(|| text.to_owned())
}

fn block(text: &str) -> Option<String> {
    let (_, from_label) = text.split_once("-----BEGIN ")?;
    let (label, from_data) = from_label.split_once("-----")?;
    let (data, _) = from_data.split_once(&format!("-----END {label}-----"))?;
    let data = data.replace("\\r", "").replace("\\n", "");
    let data: String = data.split_whitespace().collect();
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    // Headers inside a block, as encrypted keys have them, have a meaning by their lines.
    if !data.bytes().all(is_base64) {
        return None;
    }
    let mut lines = vec![format!("-----BEGIN {label}-----")];
    // All characters are ASCII.
    lines.extend(
        data.as_bytes()
            .chunks(LINE)
            .map(|line| String::from_utf8_lossy(line).into_owned()),
    );
    lines.push(format!("-----END {label}-----\n"));
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuEAAAAAAAAA\nAAAA";

    #[test]
    fn key_is_the_same_however_its_line_breaks_were_changed() {
        let (first, rest) = DATA.split_at(64);
        let rest = rest.replace('\n', "");
        let good =
            format!("-----BEGIN PUBLIC KEY-----\n{first}\n{rest}\n-----END PUBLIC KEY-----\n");
        for changed in [
            good.clone(),
            good.replace('\n', "\\n"),
            good.replace('\n', "\\r\\n"),
            good.replace('\n', "\r\n"),
            good.replace('\n', "\n    "),
            good.replace('\n', " "),
            format!("\u{feff}{good}"),
            format!("\"{}\"", good.replace('\n', "\\n")),
            format!("'{good}'"),
            format!("a key:\n{good}and more"),
        ] {
            assert_eq!(normalised(&changed), good, "{changed}");
        }
    }

    #[test]
    fn text_without_a_complete_block_is_unchanged() {
        for text in [
            "",
            "-----BEGIN PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END A-----",
        ] {
            assert_eq!(normalised(text), text);
        }
    }
}
