//! Lines of code.

/// The lines of a file that are neither blank nor comment, up to its tests.
pub fn code_lines(text: &str) -> usize {
    let code = text.lines().take_while(|line| *line != "#[cfg(test)]");
    let lines = code.map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_code_are_neither_blank_nor_comment_nor_test() {
        let text = "//! A room.\n\nuse std::fs;\n\n/// Says it.\nfn say() {\n    // Why.\n    go();\n}\n\n#[cfg(test)]\nmod tests {\n    fn no() {}\n}\n";
        assert_eq!(code_lines(text), 4);
    }
}
