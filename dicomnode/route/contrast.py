"""Whether a contrast agent was given: what the attributes say, and what people write into descriptions.

PS3.3 A.3.3 and A.4.3: the Contrast/Bolus Module is there if contrast media were used in the image, so its absence says
that none were. Scanners fill it in for native series of the same study, too, and write "NONE" into it; people write the
phase into Series Description. Where attributes and words contradict one another, neither is believed.
"""

from __future__ import annotations

import re
from typing import Final

from dicomnode.domain.study import InstanceRecord
from dicomnode.route.conditions import upper

WITH: Final = "with"
WITHOUT: Final = "without"
ANY: Final = "any"
AGENT: Final = ("ContrastBolusAgent", "ContrastBolusIngredient", "ContrastBolusRoute")
NO_AGENT: Final = frozenset({
    "", "NO", "NONE", "N", "0", "OFF", "WITHOUT", "NO CONTRAST", "NON CONTRAST", "UNKNOWN", "-",
})
"""What stands in Contrast/Bolus attributes where nothing was given, or nobody knows."""
SPOKEN: Final = ("SeriesDescription", "ProtocolName")
NATIVE_WORDS: Final = re.compile(
    r"(?<![A-Z])(NATIVE?|NATIV|UNENHANCED|PRE[- ]?(CONTRAST|GAD\w*|GD|KM)|NON[- ]?(CON(TRAST)?|ENHANCED|CE)|"
    r"(?<!W/)(?<!AND )(?<!& )(NO|W/?O|WITHOUT)[- ](IV[- ])?CONTRAST|PRE$|"
    r"W/?O|WITHOUT|OHNE KM|SANS (INJ\w*|IV|PDC)|SIN CONTRASTE|C-)(?![A-Z])|平扫|平掃", re.ASCII)
GIVEN_WORDS: Final = re.compile(
    r"(?<![A-Z])(ARTERIAL|VENOUS|PORTAL|DELAYED|EQUILIBRIUM|ENHANCED|CONTRAST|GAD\w*|GD|\+ ?KM|MIT KM|CE|C\+|\+C|"
    r"POST[- ]?(CONTRAST|GAD\w*|GD|KM|C)|POST$|AVEC (INJ\w*|IV|PDC)|CON CONTRASTE)(?![A-Z])|"
    r"增强|增強|动脉期|動脈期|静脉期|靜脈期|门脉期|延迟期", re.ASCII)


def against_contrast(image: InstanceRecord, wanted: str) -> tuple[str, ...]:
    """Return why a series does not satisfy ``contrast``; descriptions are read, never repeated."""
    if wanted == ANY:
        return ()
    agent, words = _agent(image), _words(image)
    if words and words != agent and (agent == WITH or wanted == WITHOUT):
        attributes = "say that a contrast agent was given" if agent == WITH else "say of no contrast agent"
        return (f"wanted {wanted} contrast, but its attributes {attributes} and its description the contrary",)
    found = words or agent
    return () if found == wanted else (f"made {found} contrast agent, wanted {wanted}",)


def _agent(image: InstanceRecord) -> str:
    given = any(upper(image.attributes.get(keyword, ())) - NO_AGENT for keyword in AGENT)
    return WITH if given else WITHOUT


def _words(image: InstanceRecord) -> str:
    """Return what the descriptions say; '' where they are silent, or say both."""
    texts = [image.text(keyword).strip().upper() for keyword in SPOKEN]
    without = any(NATIVE_WORDS.search(text) for text in texts)
    given = any(GIVEN_WORDS.search(NATIVE_WORDS.sub(" ", text).strip()) for text in texts)
    return "" if without == given else WITHOUT if without else WITH
