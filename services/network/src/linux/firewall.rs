//! Firewalls that others run on this host. What guests send each other is forwarded, and shown to everyone's chains for that: one
//! that drops by default (as container engines set up) silences guests, whatever their security groups say.

use super::process;

/// A base chain: family, table, name.
type Chain = (String, String, String);

/// What is in guests' way, and how to let them through. Blocks.
pub fn trouble() -> Option<String> {
    let chains = dropping(&process::list(&["chains"]).ok()?);
    chains.into_iter().find_map(|(family, table, chain)| {
        let rules = process::list(&["table", &family, &table]).ok()?;
        (!knows_bridges(&rules)).then(|| {
            format!(
                "a firewall on this host (nftables: {family} {table} {chain}) drops what is forwarded, and so what guests send each other: \
                 let their bridges through, `nft insert rule {family} {table} {chain} iifname \"brq*\" accept`"
            )
        })
    })
}

/// The chains in a listing that see forwarded packets and drop those that no rule accepts.
fn dropping(listing: &str) -> Vec<Chain> {
    let (mut table, mut chain, mut found) = (None, None, vec![]);
    for line in listing.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["table", family @ ("ip" | "ip6" | "inet"), name, "{"] => table = Some((family, name)),
            ["table", ..] => table = None,
            ["chain", name, "{"] => chain = Some(name),
            ["type", "filter", "hook", "forward", ..] if words.ends_with(&["policy", "drop;"]) => {
                let named = table.zip(chain).map(|((family, table), chain)| (family.to_owned(), table.to_owned(), chain.to_owned()));
                found.extend(named);
            }
            _ => {}
        }
    }
    found
}

/// Whether somebody thought of bridges like ours, or of bridged packets at all.
fn knows_bridges(rules: &str) -> bool {
    rules.contains("\"brq") || rules.contains("physdev")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_drops_what_is_forwarded_is_found_among_others() {
        let listing = "table ip filter {\n\tchain INPUT {\n\t\ttype filter hook input priority filter; policy drop;\n\t}\n\
            \tchain DOCKER {\n\t}\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n\
            table inet mine {\n\tchain f {\n\t\ttype filter hook forward priority 0; policy accept;\n\t}\n}\n\
            table bridge b {\n\tchain f {\n\t\ttype filter hook forward priority 0; policy drop;\n\t}\n}\n";
        assert_eq!(dropping(listing), [("ip".into(), "filter".into(), "FORWARD".into())]);
        assert!(knows_bridges("iifname \"brq*\" accept") && !knows_bridges("iifname \"docker0\" accept"));
    }
}
