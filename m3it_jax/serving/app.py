"""The routes of `m3it serve`."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from m3it_jax import errors
from m3it_jax.generation import pictures
from m3it_jax.generation.batching import Prepared
from m3it_jax.generation.request import SamplingConfig
from m3it_jax.input_pipeline.rows import transforms
from m3it_jax.serving import chat_requests, guards, picture_parts
from m3it_jax.serving.api_errors import ApiError, invalid
from m3it_jax.serving.chat_answers import DONE, WAITING, Completion, event
from m3it_jax.serving.chat_requests import ChatRequest
from m3it_jax.serving.engine import BusyError, Engine, Update
from m3it_jax.serving.metrics import CONTENT_TYPE, Metrics

_PAGE = Path(__file__).parent / "page"
_FILES = {  # route -> (file, type)
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_WAITING_SECONDS = 10.0  # of a stream without news until a comment says that it is alive
_DECODERS = 2  # pictures that are decoded at once: each may take 160 MB
_MOST_AT_ONCE = 256  # CHOICE: requests that are read and held in memory at the same time


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a server is told.

    Attributes:
      name: Of the model.
      key: What clients must name; None: nothing.
      hosts: Names that it may be called by; None: any.
      most_bytes: Of a request's body, and of what is fetched for it.
      picture_hosts: From which pictures are fetched; none: no address is opened.
      about: What the page tells beside the name: {"variant", "step", "device", ...}.
      asked: What the model was asked in training, the rows of asked.json.
      templates: Instructions by task: {task: [text]}.
    """

    name: str
    key: str | None = None
    hosts: Collection[str] | None = None
    most_bytes: int = 20 << 20
    picture_hosts: Collection[str] = ()
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    asked: tuple[Mapping[str, Any], ...] = ()
    templates: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


class Service:
    """What the routes share: the model's engine and what is counted."""

    def __init__(self, engine: Engine, settings: Settings):
        """Takes an engine; the application starts and stops it."""
        self.engine, self.settings, self.metrics = engine, settings, Metrics()
        self.sampler = engine.scheduler.sampler
        self._started = int(time.time())
        self._decoding = asyncio.Semaphore(_DECODERS)
        self._reading = 0

    async def models(self, _: Request) -> Response:
        """GET /v1/models."""
        row = {"id": self.settings.name, "object": "model", "created": self._started, "owned_by": "m3it_jax"}
        row["max_model_len"] = self.engine.scheduler.num_slots  # as vLLM tells it
        return JSONResponse({"object": "list", "data": [row]})

    async def model(self, request: Request) -> Response:
        """GET /v1/models/NAME."""
        if request.path_params["name"] != self.settings.name:
            raise self._no_model(request.path_params["name"])
        row = {"id": self.settings.name, "object": "model", "created": self._started, "owned_by": "m3it_jax"}
        return JSONResponse(row)

    async def healthz(self, _: Request) -> Response:
        """GET /healthz."""
        return JSONResponse({"status": "ok"})

    async def tell_metrics(self, _: Request) -> Response:
        """GET /metrics."""
        scheduler = self.engine.scheduler
        gauges = {
            "m3it_answers_running": ("Answers that are being made.", scheduler.num_running),
            "m3it_answers_pending": ("Answers that are asked for and not finished.", self.engine.num_pending),
            "m3it_rows": ("Answers that can be made at once.", scheduler.num_rows),
            "m3it_pictures_encoded": ("Pictures that went through the vision tower.", scheduler.features.num_encoded),
            "m3it_prompt_tokens_computed": ("Tokens of prompts that went through the model.", scheduler.num_filled),
            "m3it_decoder_steps": ("Steps of the decoder over all rows.", scheduler.num_steps),
        }
        return Response(self.metrics.text(gauges), media_type=CONTENT_TYPE)

    async def page_facts(self, _: Request) -> Response:
        """GET /page.json: what the page tells about the model."""
        sampler, settings = self.sampler, self.settings
        facts = {
            "model": settings.name,
            "about": settings.about,
            "asked": settings.asked,
            "templates": settings.templates,
            "limits": {
                "tokens": self.engine.scheduler.num_slots,
                "picture_tokens": sampler.layout.block_len(sampler.num_queries),
                "picture_size": sampler.model.vit.config.image_size,
                "picture_fit": sampler.model.vit.config.image_fit,
                "bytes": settings.most_bytes,
                "pictures": picture_parts.MOST_PICTURES,
            },
        }
        return JSONResponse(facts)

    async def complete(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise ApiError(415, "Content-Type: must be application/json", code="wrong_content_type")
        asked, chat = await self._read(request)
        completion = Completion(
            self.settings.name,
            num_prompt_tokens=asked[0].length,
            num_choices=len(asked),
            tokenizer=self.sampler.tokenizer,
        )
        self.metrics.count("m3it_prompt_tokens_total", asked[0].length * len(asked))
        owner = request.client.host if request.client else ""
        updates = self.engine.answers(asked, owner=owner, num_best=chat.num_best)
        arrived = request.scope["m3it.arrived"]
        watched = self._watched(updates, arrived)
        try:
            first = await self._unless_gone(anext(watched), request)
        except BusyError as error:
            raise self._busy() from error
        if first is None:
            await watched.aclose()
            return Response(status_code=499)  # nobody reads it
        if not chat.is_stream:
            return await self._whole(request, chat, completion, updates=_again(first, watched))
        _check(first)
        return StreamingResponse(self._events(chat, completion, _again(first, watched)), media_type="text/event-stream")

    async def _read(self, request: Request) -> tuple[list[Prepared], ChatRequest]:
        """Returns what is asked, laid out and with its pictures decoded, once for each answer.

        Raises:
          ApiError: the request is refused.
        """
        if self._reading >= _MOST_AT_ONCE or self.engine.num_pending >= self.engine.most_pending:
            raise self._busy()
        self._reading += 1
        try:
            body = await request.body()
            request.scope["m3it.arrived"] = time.monotonic()
            read_picture = picture_parts.reader(self.settings.picture_hosts, self.settings.most_bytes)
            chat = await anyio.to_thread.run_sync(chat_requests.parse, body, read_picture)
            del body
            request._body = b""  # it may hold megabytes of base64, for as long as the answer is made
            if chat.model not in ("", self.settings.name):
                raise self._no_model(chat.model)
            if chat.num_choices > self.engine.most_pending:
                raise invalid(f"n: at most {self.engine.most_pending} answers wait or are made here", "n")
            async with self._decoding:
                return await anyio.to_thread.run_sync(self._prepare, chat), chat
        finally:
            self._reading -= 1

    def _prepare(self, chat: ChatRequest) -> list[Prepared]:
        """Returns the rows of a request; runs in a thread."""
        sampler, config = self.sampler, self.sampler.model.vit.config
        known = self.engine.scheduler.features
        cut = picture_parts.cut(chat.shown, chat.turns, sampler)
        slots, parts = pictures.slots(cut), pictures.parts(cut)
        missing = [picture for picture in parts if picture not in known]
        decoded = {p.key: p for p in picture_parts.decoded(missing, config.image_size, config.image_fit)}
        shown = [decoded.get(picture.key, picture) for picture in parts]
        shown = list(sampler.beside(shown, chat.turns[-1].instruction))
        text = transforms.lay_out(sampler.layout, sampler.tokenizer, chat.turns, system=chat.system)
        num_slots = self.engine.scheduler.num_slots
        row = transforms.make_row(sampler.layout, text, num_images=len(slots), slots=slots)
        room = num_slots - len(row["token_ids"])
        if room < 1:
            # In the words that clients look for (openai-python and its users match them).
            raise invalid(
                f"messages: this model's maximum context length is {num_slots} tokens, the messages with "
                f"{len(slots)} pictures have {len(row['token_ids'])}; shorten them or show fewer pictures",
                "messages",
                "context_length_exceeded",
            )
        most = min(room, chat.max_tokens or room)
        least = min(most, chat.min_tokens)
        samplings = [
            SamplingConfig(
                max_new_tokens=most, min_new_tokens=least, seed=(chat.seed + number) % (1 << 63), **chat.sampling
            )
            for number in range(chat.num_choices)
        ]
        return [Prepared(row, shown, sampling) for sampling in samplings]

    async def _whole(
        self, request: Request, chat: ChatRequest, completion: Completion, *, updates: AsyncGenerator[Update, None]
    ) -> Response:
        async def gather() -> bool:
            async for update in updates:
                _check(update)
                completion.add(update)
            return True

        async with contextlib.aclosing(updates):
            if not await self._unless_gone(gather(), request):
                return Response(status_code=499)
        return JSONResponse(completion.whole(has_scores=chat.num_best is not None))

    async def _events(
        self, chat: ChatRequest, completion: Completion, updates: AsyncGenerator[Update, None]
    ) -> AsyncIterator[bytes]:
        """Yields the events of a stream; it is closed when the client goes, which ends the answers."""
        for number in range(chat.num_choices):
            yield completion.first_event(number)
        async with contextlib.aclosing(updates):
            waiting = asyncio.ensure_future(anext(updates))
            try:
                while True:
                    done, _ = await asyncio.wait([waiting], timeout=_WAITING_SECONDS)
                    if not done:
                        yield WAITING
                        continue
                    try:
                        update = waiting.result()
                        _check(update)
                    except StopAsyncIteration:
                        break
                    except ApiError as error:
                        yield event(error.body())
                        return
                    completion.add(update)
                    yield completion.event(update, has_scores=chat.num_best is not None)
                    waiting = asyncio.ensure_future(anext(updates))
            finally:
                if not waiting.done():
                    waiting.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await waiting
        if chat.has_usage:
            yield completion.usage_event()
        yield DONE

    async def _watched(self, updates: AsyncGenerator[Update, None], arrived: float) -> AsyncGenerator[Update, None]:
        """Yields updates and counts what they tell."""
        is_first = True
        metrics = self.metrics
        async with contextlib.aclosing(updates):
            async for update in updates:
                if is_first and (update.num_tokens or update.finish):
                    is_first = False
                    metrics.observe("m3it_first_token_seconds", time.monotonic() - arrived)
                if update.finish:
                    metrics.count("m3it_answers_total", finish=update.finish)
                    metrics.count("m3it_new_tokens_total", update.num_tokens)
                    metrics.count("m3it_shared_prompt_tokens_total", update.num_shared)
                yield update
        metrics.observe("m3it_request_seconds", time.monotonic() - arrived)

    async def _unless_gone(self, work: Any, request: Request) -> Any:
        """Returns what `work` returns, None if the client goes before."""
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_until_gone(request))
        try:
            await asyncio.wait([task, gone], return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for each in (task, gone):
                if not each.done():
                    each.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await each

    def _busy(self) -> ApiError:
        return ApiError(
            429,
            "as many requests wait as this server takes; ask again later",
            code="rate_limit_exceeded",
            headers={"Retry-After": "1"},
        )

    def _no_model(self, name: str) -> ApiError:
        message = f"model: there is no {name[:80]!r} here; this server has {self.settings.name!r}"
        return ApiError(404, message, param="model", code="model_not_found")


def _check(update: Update) -> None:
    """Raises what went wrong with an answer.

    Raises:
      ApiError: a refusal in the model's words, or that the server has failed.
    """
    if update.finish == "error":
        if isinstance(update.error, errors.UserError):
            raise ApiError(500, str(update.error), code="model_error")
        raise ApiError(500, "the server failed to answer; ask again", code="internal_error")


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _again(first: Update, rest: AsyncGenerator[Update, None]) -> AsyncGenerator[Update, None]:
    async with contextlib.aclosing(rest):
        yield first
        async for update in rest:
            yield update


def _file(name: str, kind: str) -> Callable[[Request], Any]:
    content = (_PAGE / name).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, ApiError):
        return guards.refusal(error)
    if isinstance(error, HTTPException):
        words = {404: "there is no such route", 405: "this route takes another method"}
        message = words.get(error.status_code, "the request is refused")
        return guards.refusal(ApiError(error.status_code, message, headers=dict(error.headers or {})))
    return guards.refusal(ApiError(500, "the server failed; its log says why", code="internal_error"))


def make(service: Service) -> ASGIApp:
    """Returns the application: its engine runs while it does."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.engine.start()
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(service.engine.stop)

    routes = [
        Route("/v1/chat/completions", service.complete, methods=["POST"]),
        Route("/v1/models", service.models),
        Route("/v1/models/{name:path}", service.model),
        Route("/healthz", service.healthz),
        Route("/metrics", service.tell_metrics),
        Route("/page.json", service.page_facts),
        *(Route(path, _file(*file)) for path, file in _FILES.items()),
    ]
    handlers: dict[Any, Any] = {ApiError: _refused, HTTPException: _refused, Exception: _refused}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    settings = service.settings
    return guards.Guards(
        app, key=settings.key, hosts=settings.hosts, most_bytes=settings.most_bytes, metrics=service.metrics
    )
