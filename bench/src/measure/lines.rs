//! Lines of code.

/// The number of lines that are neither blank nor comments, up to the tests.
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
        let text = "//! A module.\n\nuse std::fs;\n\n/// Prints it.\nfn print() {\n    // Why.\n    go();\n}\n\n#[cfg(test)]\nmod tests {\n    fn no() {}\n}\n";
        assert_eq!(code_lines(text), 4);
    }
}
