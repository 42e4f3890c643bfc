//! The real `openstack` client, from the venv that ops/test makes.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub struct Client {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

/// What one command led to.
#[derive(Debug)]
pub struct Outcome {
    pub code: i64,
    pub out: String,
    pub err: String,
}

impl Client {
    pub fn start(clouds_yaml: &Path, cloud: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/it/osc.py");
        let mut child = Command::new(venv().join("bin/python"))
            .arg(script)
            .env("OS_CLIENT_CONFIG_FILE", clouds_yaml)
            .env("OS_CLOUD", cloud)
            .env("PYTHONWARNINGS", "ignore")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the venv's python runs");
        let answers = BufReader::new(child.stdout.take().expect("it was piped"));
        Self { child, answers }
    }

    /// Runs one command, given as in a shell but without quoting: words are separated by blanks.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> Outcome {
        let words: Vec<&str> = command.split_whitespace().collect();
        self.run_words(&words)
    }

    #[track_caller]
    pub fn run_words(&mut self, words: &[&str]) -> Outcome {
        let line = serde_json::to_string(words).expect("words are JSON");
        let input = self.child.stdin.as_mut().expect("it was piped");
        writeln!(input, "{line}").and_then(|()| input.flush()).expect("the client's process has ended");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the client's process has ended");
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|e| panic!("openstack {}: {e}: {answer}", words.join(" ")));
        let field = |name: &str| answer[name].as_str().unwrap_or_default().to_string();
        Outcome { code: answer["code"].as_i64().unwrap_or(98), out: field("out"), err: field("err") }
    }

    /// Runs one command that must succeed; what it printed.
    #[track_caller]
    pub fn ok(&mut self, command: &str) -> String {
        let outcome = self.run(command);
        assert_eq!(outcome.code, 0, "openstack {command} failed:\n{}{}", outcome.out, outcome.err);
        outcome.out
    }

    /// The same, as JSON.
    #[track_caller]
    pub fn json(&mut self, command: &str) -> Value {
        let out = self.ok(&format!("{command} -f json"));
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("openstack {command}: {e}: {out}"))
    }

    /// Runs one command that must fail, saying this.
    #[track_caller]
    pub fn fails(&mut self, command: &str, saying: &str) {
        let outcome = self.run(command);
        assert_ne!(outcome.code, 0, "openstack {command} succeeded:\n{}", outcome.out);
        assert!(outcome.err.contains(saying), "openstack {command} did not say {saying:?} but:\n{}", outcome.err);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

pub fn venv() -> PathBuf {
    let here = || Path::new(crate::cloud::STRATA).parent().and_then(Path::parent).map(|target| target.join("openstackclient"));
    let venv = std::env::var_os("STRATA_TEST_VENV").map(PathBuf::from).or_else(here).expect("the program lies in target/");
    assert!(
        venv.join("bin/openstack").exists(),
        "there is no OpenStack client in {}: run ops/test, or set STRATA_TEST_VENV",
        venv.display()
    );
    venv
}

/// The values of one column in a list that was printed as JSON.
pub fn column(list: &Value, name: &str) -> Vec<String> {
    let rows = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    rows.iter().map(|row| row[name].as_str().map_or_else(|| row[name].to_string(), str::to_string)).collect()
}
