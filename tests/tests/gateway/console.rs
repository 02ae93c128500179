//! The files of the console.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use chassis::testkit::Server;
use chassis::upstream::url::UpstreamUrl;
use harness::Got;
use regex_lite::Regex;
use reqwest::Method;

use super::{gateway, gateway_with};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// All that a browser loads, in bytes.
const MOST: usize = 200 * 1024;

async fn console() -> Server {
    gateway(&UpstreamUrl::local(1)).await
}

/// The files in the repository: the path of each, and what is in it.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/console");
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(&root).expect("a file below it");
                let text = fs::read_to_string(&path).expect("text");
                files.push((below.to_str().expect("UTF-8").to_owned(), text));
            }
        }
    }
    files.sort();
    files
}

/// The page, as a browser gets it.
async fn page(server: &Server) -> Got {
    Got::from(server.request(Method::GET, "/").header("accept", BROWSER)).await
}

fn found(pattern: &str, text: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).expect("a pattern");
    let found = pattern.captures_iter(text);
    found.map(|found| found[1].to_owned()).collect()
}

#[tokio::test]
async fn every_file_is_served_as_it_is_with_its_type() {
    let console = console().await;
    let files = files();
    let mut whole = 0;
    for (path, text) in &files {
        let got = console.get(&format!("/console/{path}")).await;
        assert_eq!(got.status, 200, "{path}");
        let expected = match path.rsplit_once('.').expect("an ending").1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(got.header("content-type"), expected, "{path}");
        assert_eq!(got.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(String::from_utf8_lossy(&got.body), *text, "{path}");
        whole += got.body.len();
    }
    assert!(files.len() > 10, "{} files", files.len());
    assert!(whole < MOST, "{whole} bytes");
    for nothing in [
        "/console/nothing.js",
        "/console/lib/app.js",
        "/console/pages/%2e%2e",
    ] {
        console.get(nothing).await.expect_error(404, "not_found");
    }
    let post = console.post("/console/app.js", serde_json::json!({})).await;
    post.expect_error(405, "method_not_allowed");
}

#[tokio::test]
async fn a_browser_asks_each_time_and_gets_only_what_is_new() {
    let console = console().await;
    for path in ["/console/app.js", "/console/lib/dom.js", "/"] {
        let ask = |tag: String| {
            let request = console.request(Method::GET, path).header("accept", BROWSER);
            Got::from(request.header("if-none-match", tag))
        };
        let first = ask("\"another\"".to_owned()).await;
        assert_eq!(first.status, 200, "{path}");
        assert_eq!(first.header("cache-control"), "no-cache", "{path}");
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with('"'), "{path}: {tag:?}");
        for known in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"another\", {tag}"),
        ] {
            let again = ask(known.clone()).await;
            assert_eq!(again.status, 304, "{path}: {known}");
            assert!(again.body.is_empty(), "{path}: {known}");
            assert_eq!(again.header("cache-control"), "no-cache", "{path}: {known}");
        }
    }
    // JSON has no tag: it is what is true now.
    let json = console.request(Method::GET, "/");
    let json = Got::from(json.header("if-none-match", "*")).await;
    assert_eq!(
        (json.status, json.header("content-type")),
        (200, "application/json")
    );
}

#[tokio::test]
async fn the_page_may_load_only_files_of_the_gateway() {
    let page = page(&console().await).await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("vary"), "Accept, Accept-Encoding");
    let policy = page.header("content-security-policy");
    let parts: Vec<_> = policy.split("; ").collect();
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(parts.contains(&part), "{part} is not in {policy:?}");
    }
    assert!(!policy.contains("unsafe"), "{policy:?}");
    // The same page by its own path has the same policy.
    let file = console().await.get("/console/index.html").await;
    assert_eq!(file.header("content-security-policy"), policy);
}

/// What the policy forbids would be an empty page, which no other test sees.
#[test]
fn the_files_keep_the_policy() {
    let name_of_svg = "http://www.w3.org/2000/svg";
    for (path, text) in files() {
        let text = text.replace(name_of_svg, "");
        for (pattern, what) in [
            (r"(?i)(<script\s*>)", "an inline script"),
            (
                r"(?i)(\son[a-z]+\s*=\s*[\x22'])",
                "a handler in an attribute",
            ),
            (r"(?i)(\sstyle\s*=\s*[\x22'])", "an inline style"),
            (r"(javascript:)", "a script in an address"),
            (
                r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\()",
                "text that becomes markup",
            ),
        ] {
            let found = found(pattern, &text);
            assert!(found.is_empty(), "{path} has {what}: {found:?}");
        }
        // A comment may name a standard.
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code: Vec<_> = lines.collect();
        let hosts = found(
            r"(https?:|[\x22'`(]//|\burl\(\s*[^#\s]|@import)",
            &code.join("\n"),
        );
        assert!(hosts.is_empty(), "{path} names another host: {hosts:?}");
    }
}

#[test]
fn what_a_file_loads_is_there() {
    let files = files();
    let known: BTreeSet<PathBuf> = files.iter().map(|(path, _)| PathBuf::from(path)).collect();
    let mut loaded = BTreeSet::from([PathBuf::from("index.html")]);
    for (path, text) in &files {
        if path == "index.html" {
            let linked = found(r#"(?:href|src)="console/([^"]+)""#, text);
            assert!(linked.contains("app.js"), "{linked:?}");
            loaded.extend(linked.into_iter().map(PathBuf::from));
        }
        let folder = Path::new(path).parent().expect("a folder");
        let imports = found(r#"(?:from|import\()\s*"([^"]+)""#, text);
        for import in imports {
            assert!(
                import.starts_with("./") || import.starts_with("../"),
                "{path}: {import}"
            );
            let mut target = PathBuf::new();
            for part in folder.join(&import).components() {
                match part {
                    std::path::Component::ParentDir => assert!(target.pop(), "{path}: {import}"),
                    std::path::Component::CurDir => {}
                    part => target.push(part),
                }
            }
            assert!(
                known.contains(&target),
                "{path} imports {import}, which is not there"
            );
            loaded.insert(target);
        }
    }
    let unused: Vec<_> = known.difference(&loaded).collect();
    assert!(unused.is_empty(), "nothing loads {unused:?}");
    for (path, text) in files.iter().filter(|(path, _)| path.starts_with("pages/")) {
        let is_page = loaded.contains(Path::new(path)) && text.contains("export const title");
        if is_page {
            assert!(text.contains("export function mount("), "{path}");
        }
    }
}

#[tokio::test]
async fn a_browser_gets_the_console_whatever_the_limit() {
    let settings = [("RATE_LIMIT", "1")];
    let console = gateway_with(&UpstreamUrl::local(1), &settings).await;
    for _ in 0..10 {
        assert_eq!(page(&console).await.status, 200);
        for path in ["app.js", "lib/api.js", "style.css"] {
            let got = console.get(&format!("/console/{path}")).await;
            assert_eq!((got.status, got.header("ratelimit")), (200, ""), "{path}");
        }
    }
}
