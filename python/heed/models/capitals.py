# SPDX-FileCopyrightText: The heed authors
# SPDX-License-Identifier: Apache-2.0
"""Questions whose answers stand in no context: capitals, asked after some prose."""

from heed.models import tasks
from heed.models.errors import InputError

# Country, capital.
CAPITALS = dict(
    pair.split(":")
    for pair in """France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon
England:London Scotland:Edinburgh Ireland:Dublin Wales:Cardiff Norway:Oslo
Sweden:Stockholm Finland:Helsinki Denmark:Copenhagen Iceland:Reykjavik Poland:Warsaw
Austria:Vienna Hungary:Budapest Greece:Athens Bulgaria:Sofia Romania:Bucharest
Serbia:Belgrade Croatia:Zagreb Slovenia:Ljubljana Slovakia:Bratislava Albania:Tirana
Ukraine:Kyiv Russia:Moscow Belarus:Minsk Latvia:Riga Lithuania:Vilnius Estonia:Tallinn
Switzerland:Bern Belgium:Brussels Netherlands:Amsterdam Malta:Valletta Cyprus:Nicosia
Turkey:Ankara Georgia:Tbilisi Armenia:Yerevan Azerbaijan:Baku Iran:Tehran Iraq:Baghdad
Syria:Damascus Lebanon:Beirut Jordan:Amman Egypt:Cairo Libya:Tripoli Tunisia:Tunis
Algeria:Algiers Morocco:Rabat Sudan:Khartoum Kenya:Nairobi Uganda:Kampala Ghana:Accra
Nigeria:Abuja Senegal:Dakar Mali:Bamako Angola:Luanda Zambia:Lusaka Zimbabwe:Harare
Somalia:Mogadishu Rwanda:Kigali Malawi:Lilongwe Liberia:Monrovia Qatar:Doha Oman:Muscat
Yemen:Sanaa Bahrain:Manama Afghanistan:Kabul Pakistan:Islamabad Nepal:Kathmandu
Bangladesh:Dhaka Bhutan:Thimphu Kazakhstan:Astana Uzbekistan:Tashkent
Mongolia:Ulaanbaatar China:Beijing Japan:Tokyo Taiwan:Taipei
Thailand:Bangkok Vietnam:Hanoi Indonesia:Jakarta Philippines:Manila
Australia:Canberra Canada:Ottawa Mexico:Mexico
Cuba:Havana Jamaica:Kingston Guatemala:Guatemala Honduras:Tegucigalpa
Nicaragua:Managua Panama:Panama Colombia:Bogota Venezuela:Caracas Ecuador:Quito
Peru:Lima Chile:Santiago Brazil:Brasilia Uruguay:Montevideo Fiji:Suva""".split()
)


def documents(prose, encode, rng, count=8, before=192):
    """Documents of `count` questions after `before` tokens of prose.

    Distractors are all other capitals. Those that share a first token, or their
    country's name, are left out.
    """
    capitals = tasks.single_words(CAPITALS.values(), encode)
    firsts = dict(capitals)
    facts = [
        (country, capital, firsts[capital])
        for country, capital in CAPITALS.items()
        if capital in firsts and capital != country
    ]
    candidates = sorted({first for _, _, first in facts})
    facts = [facts[i] for i in rng.permutation(len(facts))]
    if len(facts) < 2 * count:
        raise InputError(
            f"the tokenizer tells {len(facts)} of the capitals apart by their first "
            "token, too few"
        )
    made = []
    for begin in range(0, len(facts) - count + 1, count):
        document = tasks.Document(sum(prose.take(before), []))
        for country, capital, first in facts[begin : begin + count]:
            document.ids += encode(f"\nThe capital of {country} is")
            at = len(document.ids)
            others = [c for c in candidates if c != first]
            item = tasks.Item(at, first, others, 1 / len(candidates), 1.0, 0)
            document.items.append(item)
            document.ids += encode(f" {capital}") + encode(".")
        made.append(document)
    return made
