"""The commands around serving: certify, export, recertify, serve, keys, client."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from appkit.cli.inputs import file_words, is_data_file, read_inputs, read_rows
from appkit.cli.terminal import print_table, quiet_libraries, say, show_citations, tell_unsound
from appkit.errors import AppkitError

__all__ = ["app"]

app = typer.Typer()
keys = typer.Typer(no_args_is_help=True, help="API keys of a gateway: add, list.")
client = typer.Typer(no_args_is_help=True, help="Ask a gateway, and manage its bundles.")
app.add_typer(keys, name="keys")
app.add_typer(client, name="client")


@app.command()
def certify(
    bundle: Annotated[Path, typer.Argument(help="Bundle or run directory.")],
    engine: Annotated[
        str, typer.Option(help="vllm, transformers, or auto: vllm if it is installed.")
    ] = "auto",
    dtype: Annotated[
        str, typer.Option(help="float32, bfloat16, or auto: what the bundle was computed in.")
    ] = "auto",
    rows: Annotated[
        int | None,
        typer.Option(help="Test rows for the task's metric; none: all, which alone counts as a check."),
    ] = None,
    folded: Annotated[
        bool,
        typer.Option("--folded", help="A label head inside the generating engine (serve.classify=folded)."),
    ] = False,
) -> None:
    """Check that an engine computes what the trained model did, and keep the certificate in the bundle."""
    from appkit.serving.certify.certify import certify as run

    quiet_libraries()
    certificate = run(bundle, engine=engine, dtype=dtype, rows=rows, folded=folded, say=print)
    print(
        f"certified for {certificate.engine} {certificate.version}, {certificate.dtype}: {certificate.file}"
    )


@app.command()
def export(
    bundle: Annotated[Path, typer.Argument(help="Bundle or run directory.")],
    to: Annotated[
        str,
        typer.Option("--to", help="DIR, hub:OWNER/NAME, or s3://, gs://, abfss:// with bucket and prefix."),
    ],
    merge: Annotated[bool, typer.Option("--merge", help="The whole model, adapter in its weights.")] = False,
    ray: Annotated[
        bool, typer.Option("--ray", help="As Ray Serve LLM loads adapters, with a file for `serve run`.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="hub: for everybody, not only its owner.")] = False,
    licence: Annotated[
        str | None, typer.Option(help="hub: of rows and base whose licence the bundle does not know.")
    ] = None,
) -> None:
    """Write a bundle as a PEFT directory, a merged model, or for Ray: to a directory, the hub or object storage."""
    from appkit.serving.export import export as run

    quiet_libraries()
    print(run(bundle, to, merge=merge, ray=ray, public=public, licence=licence, say=say))


@app.command()
def recertify(
    bundle: Annotated[list[Path] | None, typer.Argument(help="Bundle or run directories.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every bundle below --bundles.")] = False,
    bundles: Annotated[Path, typer.Option("--bundles", help="Where --all looks.")] = Path("runs"),
    engine: Annotated[str, typer.Option(help="vllm, transformers or auto.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or auto.")] = "auto",
    rows: Annotated[int | None, typer.Option(help="Test rows for the metric; none: all.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Those with a fitting certificate too.")] = False,
) -> None:
    """After an upgrade, certify every bundle that has no certificate for the installed engine."""
    from appkit.serving.certify.recertify import recertify as run

    if everything == bool(bundle):
        raise AppkitError("name bundles, or give --all for every one below --bundles (runs/ by default)")
    quiet_libraries()
    outcomes = run(
        bundle or bundles,
        engine=engine,
        dtype=dtype,
        rows=rows,
        force=force,
        say=lambda line: print(line, flush=True),
    )
    print_table(
        ["bundle", "", ""], [[str(outcome.path), outcome.state, outcome.reason] for outcome in outcomes]
    )
    if failed := sum(outcome.state == "failed" for outcome in outcomes):
        raise AppkitError(f"{failed} of {len(outcomes)} bundles are not certified; the table says why")


@app.command()
def serve(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BUNDLE|ALIAS=BUNDLE...] [serve.KEY=VALUE...] [rag=INDEX]",
            help="Bundle or run directories, settings, documents at hand.",
        ),
    ] = None,
    bundles: Annotated[
        Path | None, typer.Option("--bundles", help="Serve every bundle below, and add more while it runs.")
    ] = None,
    more: Annotated[
        Path | None, typer.Option("--more", help="Add bundles below while it runs, without serving them all.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="vllm, transformers or auto.")] = None,
    host: Annotated[str, typer.Option(help="A host other than loopback needs --keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free port.")] = 8000,
    keys: Annotated[Path | None, typer.Option("--keys", help="See `appkit keys add`.")] = None,
    uncertified: Annotated[
        bool, typer.Option("--uncertified", help="Serve bundles without a certificate too.")
    ] = False,
    address_file: Annotated[
        Path | None,
        typer.Option("--address-file", hidden=True, help="Write the address here once it answers."),
    ] = None,
) -> None:
    """Serve bundles behind one endpoint: OpenAI's routes and typed task routes."""
    import logging

    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise AppkitError(f"{error.name} is not installed; pip install 'appkit[serve]'") from None
    quiet_libraries()
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("appkit").setLevel(logging.INFO)
    from appkit.serving.gateway.serve import serve as run

    run(
        words or (),
        root=bundles,
        more=more,
        host=host,
        port=port,
        keys=keys,
        address_file=address_file,
        say=say,
        engine=engine,
        certified=False if uncertified else None,
    )


@keys.command("add")
def keys_add(
    file: Annotated[Path, typer.Argument(help="The key file; made if it is not there.")],
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    admin: Annotated[bool, typer.Option("--admin", help="May add, move and remove bundles.")] = False,
    alias: Annotated[list[str] | None, typer.Option(help="May use only this alias; repeat for more.")] = None,
    per_minute: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
) -> None:
    """Make a key and print it once: only its hash is kept. A running gateway accepts it at once."""
    from appkit.serving.gateway.keys import add_key

    print(add_key(file, name, admin=admin, aliases=alias, per_minute=per_minute))


@keys.command("list")
def keys_list(file: Annotated[Path, typer.Argument(help="The key file.")]) -> None:
    """List the keys of a file, and what each may do."""
    from appkit.serving.gateway.keys import read_keys

    rows = [
        [
            key.name,
            "yes" if key.admin else "",
            "all" if key.aliases is None else ", ".join(key.aliases) or "none",
            str(key.per_minute or ""),
        ]
        for key in read_keys(file)
    ]
    print_table(["key", "admin", "aliases", "a minute"], rows)


Url = Annotated[str, typer.Option(help="The gateway's address.", envvar="APPKIT_URL")]
AccessKey = Annotated[str | None, typer.Option("--key", help="API key.", envvar="APPKIT_KEY")]
LOCAL = "http://127.0.0.1:8000"


@client.command("ask")
def client_ask(
    alias: Annotated[str, typer.Argument(help="An alias, or name@sha.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUT...] [data.columns.FIELD=COLUMN] [data.encoding=] [data.delimiter=]",
            help="Inputs; none: from --file or stdin. data.*: of the file.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Rows (JSONL, JSON, CSV, TSV, Parquet, CoNLL), or a text a line."),
    ] = None,
    constrain: Annotated[bool, typer.Option("--constrain", help="Keep to the pack's grammar.")] = False,
    confidence: Annotated[
        bool, typer.Option("--confidence", help="How likely each answer is right.")
    ] = False,
    threshold: Annotated[float | None, typer.Option(help="Abstain below this confidence.")] = None,
    no_rag: Annotated[bool, typer.Option("--no-rag", help="Without the gateway's documents.")] = False,
    as_json: Annotated[bool, typer.Option("--jsonl", help="JSON objects instead of bare answers.")] = False,
    url: Url = LOCAL,
    key: AccessKey = None,
) -> None:
    """Answer inputs through a gateway."""
    from dataclasses import asdict

    from appkit.client import Client

    about_file, sentences = file_words(inputs or ())
    about_file.check(file, sentences)
    with Client(url, key=key) as gateway:
        if file is not None and is_data_file(file) and not sentences:
            schema = gateway.describe(alias)["row"]
            fields = {name: name in schema["required"] for name in schema["properties"]}
            read = read_rows(file, fields, about_file)
        else:
            read = read_inputs(sentences, file, about_file.form)
        for note in read.notes:
            say(f"note: {note}")
        if not read.values:
            raise AppkitError("nothing to answer; give inputs, --file, or lines on stdin")
        answers = gateway.task(
            alias,
            read.values,
            constrain=constrain,
            confidence=confidence,
            threshold=threshold,
            rag=not no_rag,
        )
    for answer in answers:
        if as_json:
            print(json.dumps(asdict(answer), ensure_ascii=False))
        else:
            text = (
                "(abstained)"
                if answer.abstained
                else answer.parsed
                if isinstance(answer.parsed, str)
                else answer.text
            )
            print(text if answer.confidence is None else f"{answer.confidence:.2f}\t{text}")
            show_citations(answer.citations or [])
    if not as_json:
        tell_unsound([(None, False) if one.abstained else (one.error, one.truncated) for one in answers])


@client.command("bundles")
def client_bundles(url: Url = LOCAL, key: AccessKey = None) -> None:
    """List the bundles that are served, and where the aliases point."""
    from appkit.client import Client

    with Client(url, key=key) as gateway:
        listing = gateway.bundles()
    points: dict[str, list[str]] = {}
    for alias, entry in listing["aliases"].items():
        points.setdefault(entry["current"], []).append(alias)
        if entry["canary"]:
            points.setdefault(entry["canary"], []).append(f"{alias} ({entry['share']:.0%})")
    rows = [
        [
            bundle["bundle"],
            ", ".join(points.get(bundle["bundle"], [])),
            bundle["task"],
            bundle["base"],
            str(bundle["running"]),
        ]
        for bundle in listing["bundles"]
    ]
    print_table(["bundle", "aliases", "task", "base", "running"], rows)
    for path, reason in listing["refused"].items():
        print(f"refused: {path}: {reason}")


@client.command("add")
def client_add(
    path: Annotated[str, typer.Argument(help="Its directory below the gateway's bundle root.")],
    alias: Annotated[str | None, typer.Option(help="To point to it.")] = None,
    url: Url = LOCAL,
    key: AccessKey = None,
) -> None:
    """Serve one more bundle."""
    from appkit.client import Client

    with Client(url, key=key) as gateway:
        print(gateway.add(path, alias)["bundle"])


@client.command("remove")
def client_remove(ref: str, url: Url = LOCAL, key: AccessKey = None) -> None:
    """Stop serving a version (name@sha), once its running requests have ended."""
    from appkit.client import Client

    with Client(url, key=key) as gateway:
        print(f"{gateway.remove(ref)['bundle']} is not served any more; its directory stays")


@client.command("point")
def client_point(
    alias: str,
    ref: str,
    share: Annotated[
        float, typer.Option(help="Below 1: as a canary, with this share of the requests.")
    ] = 1.0,
    url: Url = LOCAL,
    key: AccessKey = None,
) -> None:
    """Move an alias to a version, or give it a canary."""
    from appkit.client import Client

    with Client(url, key=key) as gateway:
        print(json.dumps(gateway.point(alias, ref, share)))


@client.command("rollback")
def client_rollback(alias: str, url: Url = LOCAL, key: AccessKey = None) -> None:
    """Withdraw an alias's canary; without one, go back to the version before."""
    from appkit.client import Client

    with Client(url, key=key) as gateway:
        print(json.dumps(gateway.rollback(alias)))
