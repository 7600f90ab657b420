"""Secrets of every kind are masked, lines and signs stay, ordinary code is untouched, and hostile lines are fast."""

from __future__ import annotations

import random
import string
import time

import pytest
from appkit_tasks.codechange.secrets import MASK, mask
from hypothesis import given, settings
from hypothesis import strategies as st

RANDOM = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ"
"""looks drawn at random"""
AWS = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def key_lines(count: int, seed: int = 0) -> list[str]:
    """Makes the lines of a private key's body."""
    draw = random.Random(seed)
    letters = string.ascii_letters + string.digits + "+/"
    return ["".join(draw.choices(letters, k=64)) for _ in range(count)] + ["aGk="]


# What is a secret


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ('aws = "AKIAIOSFODNN7EXAMPLE"', "AKIAIOSFODNN7EXAMPLE"),
        (f'aws_secret_access_key = "{AWS}"', AWS),
        ("token: ghp_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789", "ghp_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789"),
        ("github_pat_11ABCDEFG0aBcDeFgHiJkL_mNoPqRs", "github_pat_11ABCDEFG0aBcDeFgHiJkL_mNoPqRs"),
        ("x = call(glpat-abcdefghij1234567890)", "glpat-abcdefghij1234567890"),
        ("key=AIzaSyA1234567890abcdefghijklmnopqrstuv", "AIzaSyA1234567890abcdefghijklmnopqrstuv"),
        ("xoxb-1234567890-abcdefghij", "xoxb-1234567890-abcdefghij"),
        ("stripe.key = sk_live_4eC39HqLyjWDarjtT1zdp7dc", "sk_live_4eC39HqLyjWDarjtT1zdp7dc"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U", None),
        ('url = "https://bob:hunter22@example.com/x"', "hunter22"),
        ("redis://:hunter22@host:6379/0", "hunter22"),
        ("Authorization: Bearer abcdef1234567890abcdef1234567890", "abcdef1234567890abcdef1234567890"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA1=", "dXNlcjpwYXNzd29yZA1="),
        (f'x = "{RANDOM}"', RANDOM),
        (f"x = '{'0123456789abcdef1c'}{'9f86d081884c7d65'}'", "0123456789abcdef1c9f86d081884c7d65"),
        ('password = "hunter"', "hunter"),
        ('password="correct horse battery staple"', "correct horse battery staple"),
        ("self.db_passwd = b'hunter22'", "hunter22"),
        ("const apiKey = `hunter22`;", "hunter22"),
        ('let apiKey: string = "hunter22";', "hunter22"),
        ('String password = "hunter22";', "hunter22"),
        ('password := "hunter22"', "hunter22"),
        (":password => 'hunter22',", "hunter22"),
        ('"password": "hunter22",', "hunter22"),
        ('settings["SECRET_KEY"] = "hunter22"', "hunter22"),
        ('if password == "hunter22":', "hunter22"),
        ('connect(user="bob", password="hunter22")', "hunter22"),
        ("define('DB_PASSWORD', 'hunter22');", "hunter22"),
        ("<password>hunter22</password>", "hunter22"),
        ('<add key="Password" value="hunter22"/>', "hunter22"),
        ("password: hunter22", "hunter22"),
        ("  - db-password: hunter22  # of the tests", "hunter22"),
        ("DB_PASSWORD=hunterhunter", "hunterhunter"),
        ("export API_KEY=hunter22", "hunter22"),
        ("ENV SECRET_KEY=hunter22", "hunter22"),
        ("spring.datasource.password = hunter22", "hunter22"),
        ("X-Api-Key: hunter22hunter", "hunter22hunter"),
        ('auth_token = "hunter22hunter"', "hunter22hunter"),
    ],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
def test_masks_a_secret(line: str, secret: str | None) -> None:
    for sign in ("", "+", "-", " ", "+    "):
        masked, count = mask(sign + line)
        assert count == 1
        assert masked == sign + (line.replace(secret, MASK) if secret else MASK)
        assert mask(masked) == (masked, 0)
        # a line end of Windows stays
        assert mask(f"{sign}{line}\r\nx") == (f"{masked}\r\nx", 1)


def test_counts_each_secret_and_masks_it_wherever_it_is() -> None:
    text = '+a = "AKIAIOSFODNN7EXAMPLE"; b = "AKIAIOSFODNN7EXAMPLE"\n password = "hunter22"\n+x = 1'
    assert mask(text) == (f'+a = "{MASK}"; b = "{MASK}"\n password = "{MASK}"\n+x = 1', 3)


def test_only_the_value_is_replaced() -> None:
    assert mask('password.self = self.password = "self"')[0] == f'password.self = self.password = "{MASK}"'


# Private keys


@pytest.mark.parametrize(
    "kind", ["RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"]
)
@pytest.mark.parametrize("sign", ["", "+", "-", " ", "+    "])
def test_masks_a_private_key_over_lines(kind: str, sign: str) -> None:
    header = [f"{sign}Proc-Type: 4,ENCRYPTED", sign] if "RSA" in kind else []
    begin, end = f"{sign}-----BEGIN {kind}-----", f"{sign}-----END {kind}-----"
    body = key_lines(5)
    text = "\n".join(["+x = 1", begin, *header, *(sign + line for line in body), end, "+import os"])
    masked, count = mask(text)
    assert masked.split("\n") == ["+x = 1", begin, *header, *[sign + MASK] * 6, end, "+import os"]
    assert count == 1
    assert mask(masked) == (masked, 0)


def test_masks_a_key_that_changes_and_keys_that_are_cut() -> None:
    old, new = key_lines(3), key_lines(3, seed=1)
    head = " -----BEGIN PRIVATE KEY-----"
    text = "\n".join([head, *(f"-{line}" for line in old), *(f"+{line}" for line in new)])
    masked, count = mask(text)
    assert masked.split("\n") == [head, *[f"-{MASK}"] * 4, *[f"+{MASK}"] * 4]
    assert count == 1
    # a hunk may begin within a key
    masked, count = mask(
        "\n".join([f" {old[0]}", f"-{old[1]}", f"+{new[1]}", " -----END PRIVATE KEY-----", " x"])
    )
    assert masked == f" {MASK}\n-{MASK}\n+{MASK}\n -----END PRIVATE KEY-----\n x"
    assert count == 1


def test_masks_keys_in_strings() -> None:
    body = key_lines(3)
    inline = (
        '+  "private_key": "-----BEGIN PRIVATE KEY-----\\n'
        + "\\n".join(body)
        + '\\n-----END PRIVATE KEY-----\\n",'
    )
    masked, count = mask(inline)
    assert count == 1
    assert not any(line in masked for line in body)
    assert masked.endswith('-----END PRIVATE KEY-----\\n",')
    lines = ['+KEY = ("-----BEGIN RSA PRIVATE KEY-----\\n"', *(f'+    "{line}\\n"' for line in body), "+)"]
    masked, count = mask("\n".join(lines))
    assert masked.split("\n") == [lines[0], *[f'+    "{MASK}\\n"'] * 4, "+)"]
    assert count == 1


@pytest.mark.parametrize(
    "line",
    [
        '+if text.startswith("-----BEGIN RSA PRIVATE KEY-----"):',
        "+# -----BEGIN PRIVATE KEY-----",
        '+BEGIN = "BEGIN PRIVATE KEY"',
    ],
)
def test_code_about_keys_hides_nothing_behind_it(line: str) -> None:
    text = f"{line}\n+    pass\n+\n+continue\ndiff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-abc\n+abd"
    assert mask(text) == (text, 0)


# What is none

INNOCENT = """\
tokenizer = "bert-base"
tokenizer="bert-base-uncased"
password = None
password = ""
password = get_password()
password = request.form["password"]
password = config.password
password = models.CharField(max_length=128)
password = input("Password: ")
password=password,
password: str
password: string;
private String password;
this.password = password;
def set_password(self, password: str) -> None:
    :param password: the password to check
    password (str): The password.
from django.contrib.auth.password_validation import validate_password
parser.add_argument("--password", help="password of the user")
raise ValueError("password must have 8 characters")
password: "Enter your password",
fields = ["password", "last_login"]
"password": "string",
DB_PASSWORD=$DB_PASSWORD
password: ${DB_PASSWORD}
secret: ${{ secrets.GITHUB_TOKEN }}
url = f"https://{user}:{password}@{host}/"
url = "https://example.com:8080/path?page=2&size=100"
token = os.environ["TOKEN"]
os.environ["SECRET_KEY"]
api_key = os.getenv("API_KEY")
api_key=api_key
secret = secrets.token_hex(16)
secret_name = "my-app/database"
token_type = "Bearer"
token = next(self.tokens)
token = "eof"
token = Token(kind, "a1b2c3d4")
const token = await getToken();
max_tokens = 2048
import secrets
color: #ff00aa;
background: #1a2b3c4d;
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
path = "static/images/icons/icon-512x512"
model = "meta-llama/Llama-3.2-1B-Instruct-v2"
version = "1.2.3-alpha.4+build.20240101"
index 3b18e51..a5c1966 100644
Subproject commit da39a3ee5e6b4b0d3255bfef95601890afd80709
diff --git a/src/password.py b/src/password.py
@@ -1,2 +1,3 @@ class PasswordResetTokenGenerator:
private_key: Ed25519PrivateKey
if not self.check_password(password):
assert response.status_code == 200
git@github.com:org/repo.git"""


@pytest.mark.parametrize("line", INNOCENT.split("\n"))
def test_ordinary_code_is_untouched(line: str) -> None:
    for sign in ("", "+", "-", " ", "+    "):
        assert mask(sign + line) == (sign + line, 0)


# Any text

PIECES = [
    "password", "=", ": ", '"', "'", "hunter22", "\n", "\n+", "\n-", "+", "-", " ", "://", "u:", "@h", RANDOM, MASK,
    "<", ">",
    "AKIAIOSFODNN7EXAMPLE", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", key_lines(1)[0], "aGk=", "\\n",
    "ghp_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789", "glpat-abcdefghij1234567890", "token", "\r", "\u2028",
    "Bearer ", "API_KEY=",
]  # fmt: skip


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=30).map("".join)))
def test_lines_and_signs_stay_and_a_second_time_finds_nothing(text: str) -> None:
    masked, count = mask(text)
    before, after = text.split("\n"), masked.split("\n")
    assert len(before) == len(after)
    assert (count == 0) == (masked == text)
    for old, new in zip(before, after, strict=True):
        if old[:1] in ("+", "-") or new[:1] in ("+", "-"):
            assert old[:1] == new[:1]
    assert mask(masked) == (masked, 0)


# Speed


def test_many_lines_are_fast() -> None:
    lines = [
        f'+    value_{n} = compute(item[{n}], "name of {n}", key=lambda pair: pair[1])' for n in range(2000)
    ]
    mask("warm")
    started = time.perf_counter()
    assert mask("\n".join(lines))[1] == 0
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    "piece",
    ["a", "a.b", "eyJ", "password=", "xoxb-", "=", "'", "://a:", "password='", "aB1", "-----BEGIN PRIVATE KEY-----",
     "+", " ", "token ", "<password", "x('password'", "bearer ", "\\", "password:a"],
)  # fmt: skip
def test_long_lines_take_linear_time(piece: str) -> None:
    started = time.perf_counter()
    mask(piece * (200_000 // len(piece)))
    assert time.perf_counter() - started < 10


def test_a_long_run_of_blanks_is_no_trap() -> None:
    started = time.perf_counter()
    mask("ibm_cloud_iam_password" + " " * 20_000 + "=")
    assert time.perf_counter() - started < 5


def test_secrets_of_long_lines_are_masked_wherever_they_are() -> None:
    for start in range(0, 12_000, 487):
        line = "x " * (start // 2) + "AKIAIOSFODNN7EXAMPLE" + " y" * 3000
        assert mask(line) == (line.replace("AKIAIOSFODNN7EXAMPLE", MASK), 1)
