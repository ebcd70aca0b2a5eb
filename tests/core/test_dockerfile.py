"""What a Dockerfile is built from."""

import pytest

from openbell.core.dockerfile import Base, bases

GO = """
# syntax=docker/dockerfile:1
ARG GO_IMAGE=golang:1.26
ARG BASE=scratch
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
ARG TARGETARCH
RUN GOARCH=$TARGETARCH \\
    go build -o /service \\
    .
FROM ${BASE}
COPY --from=build /service /service
"""


def test_stages_and_scratch_are_no_bases() -> None:
    assert bases(GO, {}) == (Base("golang:1.26", native=True),)


def test_arguments_replace_defaults() -> None:
    found = bases(GO, {"GO_IMAGE": "localhost/go", "BASE": "debian:12"})
    assert found == (Base("localhost/go", native=True), Base("debian:12"))


@pytest.mark.parametrize(
    ("line", "image"),
    [
        ("FROM alpine", "alpine"),
        ("from alpine as build", "alpine"),
        ("FROM --platform=linux/arm64 alpine:3.20", "alpine:3.20"),
        ("FROM ${UNKNOWN:-alpine}", "alpine"),
        ("FROM alpine@sha256:" + "a" * 64, "alpine@sha256:" + "a" * 64),
        ("FROM \\\n  alpine", "alpine"),
    ],
)
def test_ways_to_write_from(line: str, image: str) -> None:
    assert [one.image for one in bases(line, {})] == [image]


def test_each_base_is_named_once_and_a_stage_may_build_on_another() -> None:
    text = "FROM alpine AS a\nFROM a AS b\nFROM alpine\n"
    assert bases(text, {}) == (Base("alpine"),)


def test_an_argument_of_a_stage_is_none_of_the_file() -> None:
    assert bases("ARG V=1\nFROM alpine:${V}\nARG V=2\nFROM debian:${V}\n", {}) == (Base("alpine:1"), Base("debian:1"))
