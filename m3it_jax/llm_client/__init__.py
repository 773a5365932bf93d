"""The one client for outside text models: messages in, text out, from any OpenAI-compatible endpoint.

Every answer is kept on disk under a hash of what was asked (`Cache`) before anybody sees it: a run that is killed asks
nothing again. Requests run side by side under a rate and a budget; what fails for a moment is asked again. The key
comes from the environment variable `M3IT_API_KEY` and goes into a header of the request, never into a file or message.
"""

from m3it_jax.llm_client.answers import Answer, Cache, Request, Tokens
from m3it_jax.llm_client.client import ANSWER_BOUNDS, Client, Failure, Kind
from m3it_jax.llm_client.exchange import KEY_VARIABLE, address
from m3it_jax.llm_client.limits import Limits

__all__ = [
    "ANSWER_BOUNDS",
    "KEY_VARIABLE",
    "Answer",
    "Cache",
    "Client",
    "Failure",
    "Kind",
    "Limits",
    "Request",
    "Tokens",
    "address",
]
