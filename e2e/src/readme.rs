//! The README's copy-paste blocks, as they are run by whoever pastes them.

use crate::pods::ROOT;
use crate::{Failure, Result};

/// The commands of each bash block of a page's section, by the section's heading.
///
/// # Errors
/// When there is no such page or section.
pub fn blocks(page: &str, heading: &str) -> Result<Vec<Vec<String>>> {
    let text = std::fs::read_to_string(format!("{ROOT}/{page}"))?;
    let marks = heading.chars().take_while(|c| *c == '#').count();
    let body = text.split(&format!("\n{heading}\n")).nth(1);
    let body = body.ok_or_else(|| Failure::new(format!("{page} has no section {heading:?}")))?;
    // It ends where one of its own rank or a higher one begins; # in a block is a comment of the shell.
    let ends = |line: &str| (2..=marks).any(|n| line.starts_with(&format!("{} ", "#".repeat(n))));
    let section: Vec<&str> = body.lines().take_while(|line| !ends(line)).collect();
    let section = section.join("\n");
    let blocks = section.split("```bash\n").skip(1).filter_map(|rest| rest.split("```").next());
    Ok(blocks.map(commands).collect())
}

/// One a line; a here-document belongs to its command.
fn commands(block: &str) -> Vec<String> {
    let block = block.replace("\\\n", " ");
    let mut lines = block.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut all = Vec::new();
    while let Some(line) = lines.next() {
        let mut command = line.to_owned();
        if let Some(end) = line.split("<<'").nth(1).and_then(|rest| rest.split('\'').next()) {
            for line in lines.by_ref() {
                command = format!("{command}\n{line}");
                if line == end {
                    break;
                }
            }
        }
        all.push(command);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_what_is_one_command_stays_one() {
        let block =
            "# why\nhelm install \\\n  x\n\n   vault policy write p - <<'HCL'\n   path \"a\" { }\n   HCL\n   next\n";
        assert_eq!(
            commands(block),
            ["helm install    x", "vault policy write p - <<'HCL'\npath \"a\" { }\nHCL", "next"]
        );
    }
}
