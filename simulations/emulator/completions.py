"""The OpenAI completions API: what requests ask for, and the shape of answers."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

#: A rule of thumb for English text; there is no tokenizer here, only timing.
CHARACTERS_PER_TOKEN = 4
#: Every generated token; ten of them are ten times this text.
GENERATED_TEXT = " token"
#: Output of a chat request that sets no limit: a real model would stop by itself.
CHAT_OUTPUT_TOKENS = 256

Positive = Annotated[int, Field(ge=1)]


class InvalidRequest(ValueError):  # noqa: N818 - named after what it is
    """A request that no OpenAI-compatible server would take."""


class _Body(BaseModel):
    """Fields that both APIs share; others are ignored, as they change no timing."""

    model_config = ConfigDict(extra="ignore")

    model: str | None = None
    max_tokens: Positive | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    n: Literal[1] = 1
    prompt_tokens: Positive | None = None

    @property
    def reports_usage(self) -> bool:
        """Whether a stream ends with its token counts."""
        return bool((self.stream_options or {}).get("include_usage"))


class CompletionBody(_Body):
    """Body of ``/v1/completions``."""

    prompt: str | list[int] | Annotated[list[str], Field(max_length=1)]

    def input_tokens(self) -> int:
        """Count the prompt: as told, by its token list, or from its length."""
        if self.prompt_tokens is not None:
            return self.prompt_tokens
        if isinstance(self.prompt, str):
            return _tokens(len(self.prompt))
        if self.prompt and isinstance(self.prompt[0], str):
            return _tokens(len(self.prompt[0]))
        return max(1, len(self.prompt))

    def output_tokens(self) -> int:
        """Tokens to generate; 16 is the API's own default."""
        return self.max_tokens or 16


class ChatMessage(BaseModel):
    """One message; of its parts only text counts."""

    model_config = ConfigDict(extra="ignore")

    role: str
    content: str | list[dict[str, Any]] | None = None

    def characters(self) -> int:
        """Length of the text."""
        if isinstance(self.content, str):
            return len(self.content)
        return sum(len(str(part.get("text", ""))) for part in self.content or ())


class ChatBody(_Body):
    """Body of ``/v1/chat/completions``."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Positive | None = None

    def input_tokens(self) -> int:
        """Count the conversation: as told, or from its length."""
        if self.prompt_tokens is not None:
            return self.prompt_tokens
        return _tokens(sum(message.characters() for message in self.messages))

    def output_tokens(self) -> int:
        """Tokens to generate."""
        return self.max_completion_tokens or self.max_tokens or CHAT_OUTPUT_TOKENS


def _tokens(characters: int) -> int:
    return max(1, round(characters / CHARACTERS_PER_TOKEN))


def parse(body: bytes, kind: type[CompletionBody] | type[ChatBody]) -> CompletionBody | ChatBody:
    """Read a request's body.

    Raises:
        InvalidRequest: with the field and what was expected.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors())
        raise InvalidRequest("; ".join(lines)) from error


class Answer:
    """Renders the answer to one request."""

    def __init__(
        self, body: CompletionBody | ChatBody, *, model: str, identifier: str, created: int
    ) -> None:
        self._body = body
        self._chat = isinstance(body, ChatBody)
        prefix, name = ("chatcmpl", "chat.completion") if self._chat else ("cmpl", None)
        self._head = {"id": f"{prefix}-{identifier}", "created": created, "model": model}
        self._whole = {**self._head, "object": name or "text_completion"}
        self._part = {**self._head, "object": f"{name}.chunk" if name else "text_completion"}
        self._left = body.output_tokens()
        self._begun = False
        self._single = self._event(1, finish=None)

    def whole(self) -> dict[str, Any]:
        """Return the answer that is not streamed."""
        text = GENERATED_TEXT * self._body.output_tokens()
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": "length"}
        if self._chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        return {**self._whole, "choices": [choice], "usage": self._usage()}

    def more(self, tokens: int) -> bytes:
        """Return the event of so many further tokens; a server that lags sends several at once."""
        role = b""
        if self._chat and not self._begun:
            delta = {"role": "assistant", "content": ""}
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            role = _sse({**self._part, "choices": [choice]})
        self._begun = True
        self._left -= tokens
        if self._left == 0:
            return role + self._event(tokens, finish="length")
        return role + (self._single if tokens == 1 else self._event(tokens, finish=None))

    def end(self) -> bytes:
        """Return what follows the last token."""
        usage = b""
        if self._body.reports_usage:
            usage = _sse({**self._part, "choices": [], "usage": self._usage()})
        return usage + b"data: [DONE]\n\n"

    def _event(self, tokens: int, finish: str | None) -> bytes:
        text = GENERATED_TEXT * tokens
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": finish}
        if self._chat:
            choice["delta"] = {"content": text}
        else:
            choice["text"] = text
        return _sse({**self._part, "choices": [choice]})

    def _usage(self) -> dict[str, int]:
        prompt, output = self._body.input_tokens(), self._body.output_tokens()
        return {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
        }


def _sse(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"
