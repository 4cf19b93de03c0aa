"""What the names of columns suggest about whom they tell: in several European languages, as a draft for a person.

A name is cut into words (`dateOfBirth`, `date_of_birth`, `Geburtsdatum`), without accents. What a name suggests is
advice: a column `x17` may hold diagnoses.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from backstory.records.sensitivity import CONFIDENTIAL, IDENTIFYING, PSEUDONYMOUS, SPECIAL, STAFF


@dataclass(frozen=True, slots=True)
class Hint:
    """What suggests a class.

    Attributes:
        sensitivity: The class.
        reason: What it is, in a few words.
    """

    sensitivity: str
    reason: str


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BY_WORD: Final[tuple[tuple[Hint, frozenset[str]], ...]] = (
    (Hint(SPECIAL, "health"), _words(
        "health medical medicine diagnosis diagnose disease illness symptom icd disability disabled handicap pregnant "
        "pregnancy patient gesundheit krankheit behinderung schwanger sante maladie salud enfermedad salute malattia "
        "smoker bmi")),
    (Hint(SPECIAL, "religion or belief"), _words(
        "religion religious faith church belief konfession kirche glaube eglise religione fede")),
    (Hint(SPECIAL, "ethnic origin"), _words(
        "ethnicity ethnic race racial nationality citizenship herkunft ethnie nationalitat staatsangehorigkeit etnia "
        "raza nationalite nacionalidad nazionalita foreign auslander")),
    (Hint(SPECIAL, "sex or gender"), _words(
        "sex gender geschlecht sexe genre sexo genero sesso male female salutation anrede")),
    (Hint(SPECIAL, "sexual orientation"), _words("orientation sexuality")),
    (Hint(SPECIAL, "politics or union"), _words("political politics party union gewerkschaft partei syndicat")),
    (Hint(SPECIAL, "biometric or genetic"), _words(
        "biometric biometrics fingerprint face photo selfie voice signature iris dna genetic genome retina")),
    (Hint(SPECIAL, "age"), _words("age alter edad eta idade leeftijd")),
    (Hint(SPECIAL, "marital or family status"), _words(
        "marital married spouse familienstand verheiratet conjugal civil dependents")),
    (Hint(SPECIAL, "crime"), _words("criminal conviction offence offense arrest vorstrafe")),
    (Hint(STAFF, "staff"), _words(
        "employee staff clerk teller agent operator officer advisor adviser reviewer approver underwriter "
        "caseworker sachbearbeiter mitarbeiter bearbeiter berater employe empleado dipendente medewerker")),
    (Hint(IDENTIFYING, "e-mail"), _words("email emails mail courriel correo")),
    (Hint(IDENTIFYING, "telephone"), _words(
        "phone phones telephone tel telefon mobile handy telefono telefone cell cellphone fax "
        "whatsapp msisdn")),
    (Hint(IDENTIFYING, "address"), _words(
        "address addr addresses adresse anschrift direccion indirizzo endereco adres street strasse rue calle via zip "
        "zipcode postcode postleitzahl postal plz cap uprn")),
    (Hint(IDENTIFYING, "name of a person"), _words(
        "firstname lastname surname forename fullname vorname nachname familienname nom prenom nombre apellido "
        "apellidos cognome nome achternaam voornaam initials username login")),
    (Hint(IDENTIFYING, "date or place of birth"), _words(
        "dob yob birth birthday birthdate birthdt birthyear birthplace born geburtsdatum geburtstag geburtsjahr "
        "geburtsort geboren naissance nacimiento nacido nascita nato geboortedatum geboortejaar")),
    (Hint(IDENTIFYING, "national or tax number"), _words(
        "ssn ssnr nin nino tin itin dni nie nif cpf curp cnp pesel bsn nir insee ahv svnr snils aadhaar aadhar nhs mrn "
        "emr ehr steuernummer steuerid sozialversicherung "
        "passport passeport reisepass pasaporte ausweis licence license fuhrerschein kennzeichen")),
    (Hint(IDENTIFYING, "account or card"), _words(
        "iban account konto kontonummer compte cuenta conto rekening card kreditkarte pan cvv cvc bban")),
    (Hint(IDENTIFYING, "device or network"), _words(
        "ip ipaddress ipv4 ipv6 device imei imsi mac cookie advertising idfa gaid")),
    (Hint(IDENTIFYING, "place"), _words(
        "lat lon lng latitude longitude gps geo geolocation geohash coordinates location")),
    (Hint(IDENTIFYING, "free text"), _words(
        "comment comments note notes remark remarks message description bemerkung kommentar commentaire comentario "
        "narrative transcript")),
    (Hint(IDENTIFYING, "credentials, which should not be recorded"), _words(
        "password passwort secret apikey token pin")),
    (Hint(PSEUDONYMOUS, "key of a person"), _words(
        "customer cust client kunde kundennummer cliente user member borrower applicant subject person klant debtor")),
    (Hint(PSEUDONYMOUS, "income, wealth or debt"), _words(
        "income salary wage gehalt einkommen salaire revenu ingreso salario stipendio loan credit debt savings "
        "balance arrears default score rating mortgage")),
    (Hint(CONFIDENTIAL, "business secret"), _words("margin threshold prompt markup cutoff")),
)  # fmt: skip
_NAMES: Final = frozenset({"name", "names"})
_OF_PEOPLE: Final = _words(
    "first last full given family middle customer client kunde patient person user contact legal"
)
_PHRASES: Final = (
    (Hint(IDENTIFYING, "national or tax number"), ("social", "security")),
    (Hint(IDENTIFYING, "national or tax number"), ("tax", "id")),
    (Hint(IDENTIFYING, "national or tax number"), ("national", "id")),
    (Hint(IDENTIFYING, "number plate"), ("plate",)),
)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def words_of(name: str) -> list[str]:
    """Return the words of a column's name, small and without accents.

    >>> words_of("dateOfBirth"), words_of("Prénom_client")
    (['date', 'of', 'birth'], ['prenom', 'client'])
    """
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    letters = "".join(c for c in plain if not unicodedata.combining(c))
    return [word for word in re.split(r"[^a-z0-9]+", _CAMEL.sub(" ", letters).lower()) if word]


def hints_of_name(name: str) -> list[Hint]:
    """Return what a column's name suggests.

    >>> [(hint.sensitivity, hint.reason) for hint in hints_of_name("customer_email")]
    [('D4', 'e-mail'), ('D3', 'key of a person')]
    """
    words = words_of(name)
    present = {*words, *(one + two for one, two in itertools.pairwise(words))}
    found = [hint for hint, known in _BY_WORD if present & known]
    found += [hint for hint, phrase in _PHRASES if set(phrase) <= set(words)]
    if present & _NAMES and (set(words) <= _NAMES or present & _OF_PEOPLE):
        found.append(Hint(IDENTIFYING, "name of a person"))
    return found
