"""The results of a benchmark as a table for people."""

from lab.bench.results import OTHERS_CORES_MAX, TARGETS, Results, p50_ms, p99_ms

_TITLES = {
    "pgbench": "pgbench: one charge a commit",
    "noop": "noop: validates and answers",
    "charges": "charges, 10,000 wallets",
    "hot": "charges, one hot wallet",
    "bulk": "charges in bulk (1,000 a request)",
    "balance": "balances",
    "transactions": "transactions, a page",
    "mix": "60 % charges, 36 % reads, 4 % withdrawals",
    "transfers": "transfers, 10,000 wallets",
    "transfers_hot": "transfers, everybody to one payee",
    "hold_pairs": "holds with capture, pairs",
    "reversal_pairs": "charges with reversal, pairs",
    "charges_refused": "charges, 1 % refused among them",
    "statements": "statements, a page",
    "lists": "lists of charges, a page",
    "withdraw": "withdrawals accepted",
    "charges_beside": "… in the same minute, charges",
    "withdraw_away": "withdrawals accepted, actors at work, bank away",
    "charges_away": "… in the same minute, charges",
    "payouts_0ms": "withdrawals completed, bank 0 ms",
    "payouts_200ms": "withdrawals completed, bank 200 ms",
    "latency_0ms": "… at half that rate: accepted→completed",
    "latency_200ms": "… at half that rate: accepted→completed",
    "open_loop": "charges at half the peak, open loop",
    "charges_events": "charges, with events",
    "charges_no_events": "… in the same minutes, without",
    "events_numbered": "events numbered, after a pause",
    "events_commit": "… charges at half the peak, open loop",
    "events_lag": "… from their commit to their number",
    "events_stream": "… from their commit to a stream's client",
    "events_webhook": "… of some withdrawals to a receiver of webhooks",
    "events_clients": "events sent to 1,000 clients of the stream",
    "charges_1m": "charges at 1 million transfers",
    "charges_1m_none": "… in the same minutes, at none",
    "charges_10m": "charges at 10 million transfers",
    "charges_10m_none": "… in the same minutes, at none",
    "charges_archiving": "charges while history is archived",
    "charges_not_archiving": "… in the same minutes, the archive halted",
    "archived": "movements archived, at full pace",
}


def table(results: Results) -> str:
    """Return the results as a table for people."""
    lines = [f"{'medians of the runs':<48}{'per s':>10}{'p50 ms':>10}{'p99 ms':>10}   runs"]
    for name, title in _TITLES.items():
        runs = results.samples.get(name)
        if runs:
            latencies = results.median(name, p50_ms), results.median(name, p99_ms)
            shown = [f"{value:>10,.1f}" if value else f"{'':>10}" for value in latencies]
            shown.insert(0, f"{results.median(name):>10,.0f}")
            lines.append(f"{title:<48}{''.join(shown)}   {' '.join(f'{one.per_s:,.0f}' for one in runs)}")
    lines += ["", f"{'figure':<72}{'value':>8}{'target':>10}"]
    for target in TARGETS:
        value = target.value(results)
        bound = f"{'≤' if target.at_most else '≥'} {target.bound:g}"
        if value is None:
            lines.append(f"{target.figure:<72}{'–':>8}{bound:>10}  not measured")
        else:
            lines.append(
                f"{target.figure:<72}{value:>8.2f}{bound:>10}  {'✓' if target.reached(value) else '✗'}"
            )
    if (ratio := results.ratio("events_lag", "events_commit", p99_ms, p99_ms)) is not None:
        lines.append(f"lag from commit to number, p99 ÷ the charges' own p99: {ratio:.1f}")
    for moment, rows in results.memory.items():
        lines.append(f"memory, MB, {moment}: " + ", ".join(f"{row['kind']} {row['mb']:.0f}" for row in rows))
    if (others := results.others_cores()) > OTHERS_CORES_MAX:
        lines.append(f"OTHER WORK took up to {others:.1f} cores of this machine: these figures say little")
    if results.start:
        lines.append("start: cold {cold_s:.1f} s, warm {warm_s:.1f} s".format(**results.start))
    return "\n".join(lines)
