"""A shared store in a bucket of Amazon S3, or of what speaks its protocol; a `Blobs`.

Credentials, region and endpoint come from the environment as AWS's own tools take them (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL), or from a role of the container or the web
identity. Through obstore, which needs no other package: `pip install openbell[cache]`.
"""

import datetime as dt
import os
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from openbell.ports import AdapterError

SYSTEM = "S3"
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
               "AWS_CONTAINER_CREDENTIALS_FULL_URI")  # fmt: skip
REGION = "us-east-1"
CONNECT, ANSWER = dt.timedelta(seconds=1), dt.timedelta(seconds=30)


class S3Blobs:
    """Contents below a prefix of one bucket."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self.name = f"s3://{bucket}/{prefix}".rstrip("/")
        if not any(os.environ.get(name) for name in CREDENTIALS):
            # Without any, the address that instances of a cloud have for it would be asked, and waited for.
            message = f"{self.name}: no credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            raise AdapterError(SYSTEM, "open", message, effect="not_applied")
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or REGION
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            region=region,
            **({"endpoint": endpoint} if endpoint else {}),  # type: ignore[arg-type]
            client_options={
                "connect_timeout": CONNECT, "timeout": ANSWER, "allow_http": (endpoint or "").startswith("http://"),
            },
            retry_config={"max_retries": 1, "retry_timeout": ANSWER},
        )  # fmt: skip

    def get(self, name: str, target: Path, *, size_bytes_max: int) -> bool:
        """Write a content to a file; False when there is none. What is too large is refused."""
        try:
            found = obstore.get(self._store, name)
            if found.meta["size"] > size_bytes_max:
                raise self._error("read", f"{name} is larger than {size_bytes_max} bytes")
            with target.open("wb") as file:
                for chunk in found:
                    file.write(chunk)
        except (NotFoundError, FileNotFoundError):
            return False
        except BaseError as error:
            raise self._error("read", _words(error)) from error
        return True

    def put(self, name: str, source: Path) -> None:
        """Keep a file's content under a name."""
        try:
            obstore.put(self._store, name, source)
        except BaseError as error:
            raise self._error("write", _words(error)) from error

    def remove(self, name: str) -> None:
        """Remove a content, if it is there."""
        try:
            obstore.delete(self._store, name)
        except (NotFoundError, FileNotFoundError):
            return
        except BaseError as error:
            raise self._error("remove", _words(error)) from error

    def close(self) -> None:
        """Connections go with the object."""

    def _error(self, operation: str, why: str) -> AdapterError:
        return AdapterError(SYSTEM, operation, f"{self.name}: {why}", retryable=True)


def _words(error: BaseError) -> str:
    """Say it in a line; what follows the first is for whoever looks into obstore."""
    return str(error).strip().splitlines()[0][:300]
