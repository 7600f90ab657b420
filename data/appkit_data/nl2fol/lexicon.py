"""Typed vocabulary for the generated sentences: words grouped so that combinations make sense.

A domain is a text block, one word list a line: `kind sorts: words`. A sort is one capital letter, a class of
things that share verbs and adjectives inside the domain; `P` is always people and `L` places. `AB` before a
colon means "both sorts"; `P>O` means subject P, object O. In the lists, `wolf/wolves` gives an irregular
plural, a trailing `!` a verb without a passive. `COMMON` is added to every domain.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# base: (past, participle); what is not here is regular
IRREGULAR = {
    "beat": ("beat", "beaten"),
    "bend": ("bent", "bent"),
    "bite": ("bit", "bitten"),
    "break": ("broke", "broken"),
    "breed": ("bred", "bred"),
    "bring": ("brought", "brought"),
    "build": ("built", "built"),
    "buy": ("bought", "bought"),
    "cancel": ("cancelled", "cancelled"),
    "catch": ("caught", "caught"),
    "choose": ("chose", "chosen"),
    "come": ("came", "come"),
    "cut": ("cut", "cut"),
    "draw": ("drew", "drawn"),
    "drink": ("drank", "drunk"),
    "drive": ("drove", "driven"),
    "eat": ("ate", "eaten"),
    "fall": ("fell", "fallen"),
    "feed": ("fed", "fed"),
    "fight": ("fought", "fought"),
    "find": ("found", "found"),
    "fly": ("flew", "flown"),
    "forget": ("forgot", "forgotten"),
    "forgive": ("forgave", "forgiven"),
    "freeze": ("froze", "frozen"),
    "give": ("gave", "given"),
    "go": ("went", "gone"),
    "grow": ("grew", "grown"),
    "have": ("had", "had"),
    "hear": ("heard", "heard"),
    "hide": ("hid", "hidden"),
    "hit": ("hit", "hit"),
    "hold": ("held", "held"),
    "keep": ("kept", "kept"),
    "know": ("knew", "known"),
    "lead": ("led", "led"),
    "lay": ("laid", "laid"),
    "leave": ("left", "left"),
    "lend": ("lent", "lent"),
    "lose": ("lost", "lost"),
    "make": ("made", "made"),
    "meet": ("met", "met"),
    "overtake": ("overtook", "overtaken"),
    "override": ("overrode", "overridden"),
    "overlook": ("overlooked", "overlooked"),
    "oversee": ("oversaw", "overseen"),
    "pay": ("paid", "paid"),
    "put": ("put", "put"),
    "read": ("read", "read"),
    "rebuild": ("rebuilt", "rebuilt"),
    "reset": ("reset", "reset"),
    "retake": ("retook", "retaken"),
    "ride": ("rode", "ridden"),
    "run": ("ran", "run"),
    "see": ("saw", "seen"),
    "sell": ("sold", "sold"),
    "send": ("sent", "sent"),
    "shake": ("shook", "shaken"),
    "shut": ("shut", "shut"),
    "sing": ("sang", "sung"),
    "sit": ("sat", "sat"),
    "sink": ("sank", "sunk"),
    "sleep": ("slept", "slept"),
    "speak": ("spoke", "spoken"),
    "steal": ("stole", "stolen"),
    "swim": ("swam", "swum"),
    "swear": ("swore", "sworn"),
    "take": ("took", "taken"),
    "teach": ("taught", "taught"),
    "tell": ("told", "told"),
    "throw": ("threw", "thrown"),
    "understand": ("understood", "understood"),
    "wear": ("wore", "worn"),
    "underwrite": ("underwrote", "underwritten"),
    "win": ("won", "won"),
    "withdraw": ("withdrew", "withdrawn"),
    "write": ("wrote", "written"),
}

# regular verbs that double the last consonant in the past
DOUBLING = {
    "ban",
    "drag",
    "hug",
    "map",
    "plan",
    "ship",
    "skip",
    "stir",
    "submit",
    "tag",
    "trim",
    "unplug",
    "chop",
}
DOUBLING |= {"wrap", "scan", "refer", "admit", "transfer", "plug", "stop", "grab", "drop", "step", "unwrap"}
DOUBLING |= {"control", "program", "expel", "repel", "patrol", "log", "debug", "acquit"}

# verbs that also take the order "gives the nurse a pill"
DATIVE = {
    "give",
    "send",
    "show",
    "lend",
    "offer",
    "teach",
    "sell",
    "tell",
    "bring",
    "award",
    "grant",
    "throw",
    "pay",
}

FEMALE_NOUNS = {"aunt", "bride", "grandmother", "niece", "widow", "waitress"}
MALE_NOUNS = {"bachelor", "fisherman", "foreman", "grandfather", "groom", "nephew", "uncle"}

FEMALE_NAMES = """
Ada, Alice, Amara, Amina, Anika, Anna, Beatrice, Bianca, Camila, Carla, Chiara, Clara, Dalia, Diana,
Elena, Elif, Emma, Esther, Fatima, Fiona, Freya, Gloria, Greta, Hana, Helen, Ingrid, Irene, Isabel, Jana,
Joyce, Julia, Kavya, Keiko, Laila, Lena, Linda, Lucia, Maria, Marta, Mei, Mina, Nadia, Naomi, Nina, Nora,
Olga, Paula, Petra, Priya, Rosa, Ruth, Sara, Sofia, Tamar, Thandi, Uma, Vera, Wanda, Yara, Zoe"""

MALE_NAMES = """
Abel, Ahmed, Akira, Albert, Andre, Anton, Ben, Boris, Bruno, Carlos, Cyrus, Daniel, David, Diego, Dmitri,
Edgar, Emil, Erik, Farid, Felix, Finn, Gabriel, George, Hassan, Henry, Hugo, Igor, Ivan, Jack, Jamal, Jin,
Jonas, Karim, Kenji, Kofi, Lars, Leo, Luis, Magnus, Marco, Max, Milan, Nikhil, Noah, Omar, Oscar, Pablo,
Peter, Rafael, Ravi, Rohan, Samir, Sven, Tariq, Thomas, Tom, Victor, Walter, Yusuf, Zane"""

COMMON = """
nouns L: city/cities, village, town, country/countries, suburb, district, region
kinds P: volunteer, expert, adult, beginner, veteran, specialist, vegetarian, optimist, leader, smoker
kinds P: foreigner
kinds P: professional, millionaire, perfectionist
adjectives P: honest, tired, friendly, ambitious, patient, careful, nervous, generous, polite, cautious
adjectives P: curious
adjectives P: stubborn, cheerful, impatient, lazy, brave, wealthy, young, experienced, famous, modest
adjectives P: creative
adjectives L: crowded, remote, coastal, quiet, prosperous, hot, dangerous, modern
intransitive P: smile, complain, laugh, sleep, dance, hesitate, whistle, snore, apologize, yawn
intransitive P: exercise, meditate
abilities P: swim, drive, cook, speak Spanish, whistle, ski, type, skate
transitive P>P: trust, admire, help, know, respect, envy, call, thank, avoid, like, recognize, criticize
transitive P>P: advise
transitive P>P: listen to, argue with, rely on, wait for, apologize to, laugh at, work with
transitive P>L: visit, live in, travel to, leave!, come from, like, work in, move to, know
comparatives P: taller, older, wiser, younger, busier, more patient, stronger, kinder, more talented
comparatives L: larger, colder, safer, more expensive, quieter
prepositions P>P: proud of, afraid of, jealous of, angry with, related to, grateful to
prepositions P>L: in, from, fond of
prepositions L>L: near, north of, west of
relational P>P: friend, neighbor, colleague, rival
"""

PLACES = """
Paris, Oslo, Kenya, New York, Lisbon, Peru, Cairo, Kyoto, Chile, Toronto, Lagos, Vienna, Iceland, Warsaw,
Nepal, Havana, Dublin, Ghana, Seoul, Boston, Malta, Prague, Cape Town, Jakarta, Finland, Morocco, Sydney,
Bogota, Athens, Hanoi, Rio Verde, Texas, Berlin, Cuba, Manila"""

DOMAINS = {
    "household": """
nouns P: tenant, landlord, plumber, cleaner, babysitter, roommate, electrician, housekeeper, decorator
nouns O: kettle, toaster, vacuum cleaner, washing machine, heater, dishwasher, refrigerator, blender
nouns O: hair dryer
nouns R: kitchen, bedroom, bathroom, hallway, attic, cellar, apartment, laundry room, balcony/balconies
nouns R: pantry/pantries
nouns F: sofa, armchair, wardrobe, mattress, cupboard, carpet, bunk bed, dresser, footstool
kinds O: appliance, gadget
adjectives O: noisy, portable, electric, broken, rusty, cheap, secondhand
adjectives R: dark, tidy, spacious, damp, cozy, empty, messy
adjectives F: wooden, comfortable, dusty, antique, heavy, foldable
intransitive P: vacuum, sweep
intransitive O: leak, overheat, rattle, vibrate, malfunction
intransitive F: squeak, wobble
transitive P>O: repair, unplug, own!, buy, replace, install
transitive P>R: clean, paint, rent, enter, inspect, decorate, tidy
transitive P>F: polish, move, assemble, cover, dust
transitive R>FO: contain!
participles O: unplugged, installed, defrosted, recycled
participles R: furnished, locked, heated, renovated, painted
participles F: upholstered, damaged, varnished, scratched
comparatives O: louder, lighter, more expensive
comparatives R: warmer, bigger, darker
comparatives F: softer, sturdier
relational P>O: owner
relational P>R: occupant
prepositions OF>R: in
prepositions F>F: behind, next to
ditransitive P>O>P: sell to, lend to, give to
ditransitive P>OF>R: carry to, put in
constants R: Room 12, Apartment 5, Room 31
""",
    "law": """
nouns P: lawyer, judge, juror, defendant, witness, prosecutor, notary/notaries, detective, suspect, bailiff
nouns C: contract, lawsuit, verdict, appeal, warrant, subpoena, affidavit, settlement, injunction
nouns S: statute, regulation, clause, treaty/treaties, ordinance, bylaw
kinds C: legal document, court order
adjectives P: guilty, innocent, impartial, credible, corrupt
adjectives C: valid, binding, public, urgent, illegal, fair
adjectives S: strict, obsolete, vague, unconstitutional, federal
intransitive P: testify, confess, object, plead, lie
intransitive CS: expire
transitive P>P: accuse, represent, interrogate, convict, acquit!, sue, blackmail, testify against
transitive P>C: sign, contest, draft, read, reject, challenge, accept
transitive P>S: violate, obey, interpret, amend, cite
transitive C>S: violate, mention, comply with
participles P: arrested, convicted, acquitted, pardoned, sworn in
participles C: notarized, sealed, signed, dismissed, revoked
participles S: repealed, ratified, enforced
comparatives C: longer, more complex
comparatives S: stricter, clearer
relational P>P: client, accomplice
relational P>C: author
prepositions P>S: familiar with, critical of
prepositions C>S: based on, consistent with
ditransitive P>C>P: show to, send to, explain to, submit to
constants C: Contract 9, Lawsuit 40
constants S: Statute 17, Clause 8
""",
    "animals": """
nouns A: wolf/wolves, fox/foxes, otter, badger, squirrel, hedgehog, leopard, elephant, giraffe, kangaroo
nouns A: hyena, lynx/lynxes
nouns B: sparrow, penguin, parrot, owl, swan, ostrich/ostriches, woodpecker, flamingo
nouns Q: tail, claw, snout, whisker, thick coat
adjectives Q: long, curved, striped, furry, narrow
nouns H: forest, river, meadow, swamp, lake, savanna, reserve
nouns P: ranger, biologist, veterinarian, poacher, wildlife photographer
kinds A: mammal, predator, carnivore, herbivore
kinds B: migratory bird
adjectives AB: nocturnal, wild, endangered, hungry, shy, aggressive, agile, solitary
adjectives H: shallow, protected, polluted, vast, frozen
intransitive A: hibernate, growl, prowl, howl
intransitive B: migrate, molt, chirp
intransitive AB: hide, drink
abilities A: swim, jump, smell smoke
abilities B: fly, dive, imitate sounds
transitive A>A: hunt, chase, fear, follow, sniff at, run from, growl at
transitive AB>AB: attack, see, avoid, hear
transitive AB>Q: have!
transitive AB>H: live in, inhabit, drink from, hide in, cross
transitive P>AB: photograph, feed, tag, protect, rescue, study, track
transitive P>H: explore, patrol, guard
participles AB: vaccinated, tagged, captured, released, tamed
participles H: fenced, restored
comparatives AB: faster, larger, heavier
comparatives H: greener, wetter
relational AB>AB: ancestor, competitor
prepositions AB>H: in, near, native to
prepositions AB>AB: dependent on, close to
ditransitive P>AB>H: bring to, move to
constants A: Rex, Kibo, Simba
constants H: Lake Omo, Pine Forest
""",
    "plants": """
nouns T: oak, maple, willow, cactus/cacti, fern, orchid, bamboo, birch/birches, rose, tulip, daisy/daisies
nouns I: beetle, butterfly/butterflies, caterpillar, aphid, snail, moth, grasshopper, ladybug
nouns P: gardener, botanist, florist, landscaper
nouns Q: leaf/leaves, root, petal, seed, stem, bud
adjectives Q: round, yellow, waxy, shriveled, heart-shaped
comparatives Q: thicker, darker
nouns G: greenhouse, flowerbed, park, hedge, orchard
kinds T: shrub, perennial, evergreen
kinds I: insect
adjectives T: poisonous, tropical, fragrant, leafy, thorny, tall, edible, deciduous
adjectives I: winged, harmful, tiny, colorful, beneficial
adjectives G: sunny, shady, overgrown, fertile
intransitive T: bloom, wither, photosynthesize, sprout
intransitive I: crawl, mate, molt
abilities I: fly, crawl, camouflage
transitive T>Q: have!
transitive I>Q: chew, nibble on, hide under
transitive I>T: eat, damage, land on, feed on
transitive I>I: eat, resemble!
transitive P>T: plant, water, prune, grow, uproot, trim
transitive P>G: own!, design, weed, visit
transitive T>G: grow in, adorn
transitive T>I: attract, repel!, nourish
participles T: fertilized, pruned, watered, grafted, harvested
participles G: irrigated, landscaped
comparatives T: taller, greener, thornier, more fragrant
comparatives I: smaller, more colorful
prepositions I>T: on, under, attracted to
prepositions T>G: in, behind
ditransitive P>T>P: give to, sell to, describe to
constants G: Rose Park, Greenhouse 2
""",
    "software": """
nouns P: developer, tester, administrator, architect, intern, product manager, data scientist
nouns S: server, database, web service, load balancer, cluster, cache, message queue, firewall
nouns M: module, script, plugin, function, compiler, algorithm, code review, unit test
nouns U: user account, password, token, certificate, session, permission
kinds S: production system
kinds M: open source project, dependency/dependencies
adjectives S: redundant, scalable, unreachable, virtual, idle, overloaded
adjectives M: obsolete, recursive, buggy, efficient, modular, proprietary
adjectives U: temporary, weak, unique, inactive
intransitive S: crash/crashes, reboot, respond, scale
intransitive M: compile, terminate, fail, run
intransitive U: expire
transitive P>S: configure, monitor, restart, deploy, log into
transitive P>M: write, debug, refactor, review, test, maintain
transitive P>U: create, revoke, reset, share
transitive M>M: import, call, depend on, override, extend
transitive M>S: query, run on, connect to, overload
transitive S>S: replicate, synchronize with, back up!, depend on
transitive SM>U: require, validate, store
participles S: encrypted, patched, compromised, virtualized, monitored
participles M: documented, tested, deprecated, optimized, merged
participles U: revoked, hashed, suspended
comparatives S: faster, more reliable
comparatives M: newer, simpler, more efficient
relational P>M: maintainer, author
relational S>S: replica
prepositions M>M: compatible with, similar to
prepositions M>S: responsible for
ditransitive P>U>P: send to, assign to, grant to
ditransitive P>M>P: explain to, demonstrate to
constants S: Server 7, Atlas, Node 3
constants M: Zeta Script, Module 42
""",
    "business": """
nouns P: manager, accountant, salesperson/salespeople, secretary/secretaries, consultant, supplier
nouns P: customer, recruiter
nouns P: freelancer, receptionist
nouns C: company/companies, startup, branch/branches, franchise, subsidiary/subsidiaries, retailer
nouns C: agency/agencies
nouns D: invoice, report, proposal, budget, purchase order, business plan, memo, spreadsheet
nouns G: product, brochure, discount voucher, warranty/warranties, sample
kinds C: employer, competitor, sponsor
adjectives C: profitable, bankrupt, global, reputable, innovative
adjectives D: confidential, detailed, overdue, accurate, incomplete
adjectives G: popular, defective, affordable, seasonal
intransitive P: retire, resign, negotiate, commute
intransitive C: expand, prosper, advertise, outsource
transitive P>P: hire, promote, supervise, interview, report to, coach, fire
transitive P>C: manage, found!, audit, work for, invest in, join
transitive P>D: approve, prepare, sign, file, revise, present
transitive P>G: order, purchase, return, recommend, inspect
transitive C>C: acquire, sue, compete with, finance, merge with
transitive C>P: employ, dismiss, reward, recruit
transitive C>G: sell, advertise, launch, recall, stock
participles P: promoted, fired, bonded
participles C: registered, licensed, privatized, audited
participles D: approved, signed, outdated, shredded
participles G: discontinued, certified, discounted, sold
comparatives C: richer, more successful, bigger
comparatives D: longer, more detailed
comparatives G: cheaper, more popular
relational P>P: supervisor, mentor
relational P>C: shareholder, founder
prepositions P>D: responsible for, satisfied with
prepositions P>C: loyal to
ditransitive P>D>P: send to, forward to, present to
ditransitive C>G>P: sell to, offer to
constants C: Novatek, Branch 6, Zenco
constants D: Report 88
""",
    "finance": """
nouns P: banker, investor, broker, auditor, cashier, debtor, economist, stockholder, financial advisor
nouns B: bank, hedge fund, credit union, insurer, brokerage, pension fund
nouns A: savings account, credit card, mortgage, bond, insurance policy, dividend, deposit
nouns T: transaction, payment, transfer, withdrawal, refund
kinds A: asset
kinds B: lender
adjectives P: solvent, thrifty, reckless, frugal
adjectives B: insolvent, regional, regulated
adjectives A: risky, taxable, profitable, joint
adjectives T: fraudulent, recurring, large, suspicious
intransitive P: gamble, overspend
intransitive B: collapse, prosper
intransitive A: mature, depreciate
transitive P>A: have!, open, close, inherit, buy, own!, cancel
transitive P>T: authorize, dispute, record, initiate
transitive P>B: trust, sue, bank with, advise
transitive B>P: insure, defraud, compensate, notify
transitive B>A: issue, freeze, guarantee, underwrite!
transitive B>T: reject, process, block, report
participles P: bankrupted, insured
participles A: frozen, secured, taxed, diversified
participles B: bailed out, nationalized
participles T: verified, flagged, declined, authorized
comparatives A: riskier, safer, more valuable
comparatives B: older, more trustworthy
comparatives T: larger, more recent
relational P>B: customer, creditor
relational P>A: holder, beneficiary
prepositions T>A: linked to, related to
prepositions P>B: suspicious of
ditransitive B>A>P: offer to, grant to, sell to
constants B: Alpina Bank, Fund 3
constants A: Account 205
""",
    "school": """
nouns P: student, teacher, principal, pupil, tutor, janitor, professor, counselor, school nurse, dean
nouns X: exam, quiz/quizzes, essay, assignment, homework task, science project, thesis/theses
nouns C: course, seminar, lecture, workshop, field trip
nouns R: classroom, cafeteria, gymnasium, laboratory/laboratories, lecture hall, dormitory/dormitories
kinds P: sophomore, scholarship holder, valedictorian
adjectives P: diligent, absent, punctual, attentive, gifted, talkative
adjectives X: difficult, short, late, oral, original
adjectives C: mandatory, boring, advanced, optional, online
adjectives R: bright, vacant, crowded, cold
intransitive P: study, graduate, cheat, whisper, daydream
transitive P>X: grade, finish, submit, write, pass, fail, retake!
transitive P>C: attend, teach, cancel, skip, enjoy, sign up for
transitive P>P: tutor, praise, punish, encourage, sit next to, copy from
transitive P>R: enter, leave!, clean, study in
transitive C>X: include!, end with
participles P: enrolled, expelled, suspended, tutored
participles X: graded, plagiarized, corrected
participles C: accredited, cancelled, overbooked
participles R: equipped, renovated
comparatives X: easier, longer
comparatives C: harder, more interesting
comparatives R: larger, brighter
relational P>P: classmate, mentor
prepositions P>X: worried about, ready for
prepositions P>C: interested in, late for, bored with
prepositions P>R: in
ditransitive P>X>P: give to, explain to, assign to
ditransitive P>C>P: teach to, recommend to
constants C: Biology 101, Algebra 2
constants R: Classroom 4, Hall B
""",
    "medicine": """
nouns P: nurse, surgeon, patient, pharmacist, dentist, paramedic, midwife/midwives, therapist
nouns P: cardiologist, radiologist
nouns D: vaccine, antibiotic, painkiller, pill, ointment, antidote, sedative, blood thinner
nouns I: infection, allergy/allergies, fever, fracture, migraine, virus/viruses, rash/rashes, concussion
nouns H: clinic, hospital, pharmacy/pharmacies, emergency room, ward, operating room
kinds P: blood donor, diabetic, specialist
kinds D: prescription drug, stimulant
kinds I: symptom, chronic disease
adjectives P: contagious, healthy, allergic, pregnant, unconscious, feverish
adjectives D: toxic, effective, addictive, harmless, experimental
adjectives I: rare, painful, severe, hereditary, mild
adjectives H: sterile, private, rural, understaffed
intransitive P: recover, faint, sneeze, cough, bleed!
intransitive I: spread, recur, worsen
transitive P>P: examine, treat, diagnose, operate on, vaccinate, care for
transitive P>D: prescribe, take, swallow, administer, tolerate, refuse
transitive P>I: have!, diagnose, treat, suffer from, survive
transitive D>I: cure, prevent, relieve, cause
transitive P>H: work at, visit, run, trust
transitive H>D: stock, order, lack!
participles P: hospitalized, vaccinated, sedated, injured, quarantined
participles D: approved, banned, diluted, refrigerated
participles I: diagnosed, untreated, eradicated
participles H: accredited, closed, disinfected
comparatives P: healthier, sicker
comparatives D: stronger, safer, more effective
comparatives I: milder, more serious
relational P>P: caregiver, roommate
prepositions P>D: allergic to, dependent on, immune to
prepositions P>H: in
prepositions I>I: worse than
ditransitive P>D>P: give to, prescribe for, recommend to
constants H: Clinic 9, Mercy Hospital
constants D: Zortex
""",
    "sports": """
nouns P: athlete, goalkeeper, referee, striker, sprinter, swimmer, trainer, boxer, cyclist, wrestler
nouns P: lifeguard
nouns T: team, club, squad, league
nouns M: match/matches, tournament, race, championship, relay, playoff
nouns E: helmet, racket, trophy/trophies, jersey, medal, surfboard, javelin
kinds P: champion, amateur, left-handed person, reserve
adjectives P: fast, muscular, injured, unbeaten, competitive, left-handed, agile
adjectives T: undefeated, talented, local, underrated
adjectives M: exciting, international, tiring, postponed
adjectives E: golden, shiny, worn, expensive
intransitive P: sprint, sweat, cheer, score, celebrate
intransitive T: win, lose, practice
transitive P>P: tackle, defeat, challenge, overtake, race against, cheer for
transitive P>T: join, coach, support, play for
transitive P>M: win, lose, watch, enter, postpone, compete in
transitive P>E: wear, lift, carry, buy, lose
transitive T>T: beat!, defeat, outscore, play against
transitive T>M: win, host, enter, compete in
transitive T>P: sign, recruit, cheer, release
participles P: disqualified, suspended, drafted, sponsored
participles T: relegated, eliminated, sponsored, ranked
participles M: televised, cancelled, rescheduled
participles E: stolen, engraved, polished
comparatives P: faster, fitter, stronger, more agile
comparatives T: better, more popular
comparatives M: longer, tougher
comparatives E: heavier, shinier
relational P>P: teammate, opponent
relational P>T: member, fan
prepositions P>M: ready for, excited about
prepositions P>T: loyal to, happy with
ditransitive P>E>P: throw to, award to, give to, lend to
constants T: Team Cobalt, Club Verona
constants M: Match 14
""",
    "family": """
nouns P: aunt, uncle, nephew, niece, grandmother, grandfather, twin, relative, teenager, orphan, bride
nouns P: groom, widow
nouns P: newlywed, godparent
nouns G: birthday gift, photo album, diary/diaries, heirloom, wedding ring, doll, toy truck
nouns E: wedding, birthday party/birthday parties, reunion, picnic, baptism, anniversary/anniversaries
nouns H: house, cottage, farmhouse, mansion
kinds P: parent, grandparent, vegetarian, descendant
adjectives P: married, divorced, adopted, elderly, single, affectionate, spoiled
adjectives G: precious, sentimental, handmade, old
adjectives E: joyful, memorable, lavish, private
adjectives H: haunted, ancestral, cozy, abandoned
intransitive P: cry, giggle, babysit, nap, misbehave
transitive P>P: love, hug, raise, adopt, marry!, resemble!, miss, obey, scold, take after, look after
transitive P>G: inherit, treasure, wrap, lose, unwrap, keep
transitive P>E: attend, organize, remember, dread, plan
transitive P>H: inherit, live in, sell, renovate
participles P: baptized, engaged, widowed, disinherited
participles G: wrapped, lost, inherited
participles E: planned, postponed, celebrated
participles H: mortgaged, restored
comparatives P: happier, more mature, calmer
comparatives G: more precious, prettier
comparatives H: roomier, older
relational P>P: parent, sibling, cousin, grandchild/grandchildren, child/children, guardian, spouse
relational P>P: ancestor, descendant, godchild/godchildren
relational P>H: heir, owner
prepositions P>P: married to, close to, older than, younger than
prepositions P>E: late for, absent from
ditransitive P>G>P: give to, show to, bring to, promise to
constants H: Villa Rosa, Elm House
""",
    "cooking": """
nouns P: chef, waiter, baker, diner, butcher, caterer, food critic, restaurant owner
nouns D: soup, omelet, curry/curries, lasagna, salad, pancake, casserole, dumpling, burrito
nouns D: sandwich/sandwiches
nouns I: carrot, onion, mushroom, lemon, chili pepper, walnut, tomato/tomatoes, eggplant, shrimp/shrimps
nouns U: saucepan, ladle, whisk, frying pan, cutting board, oven, spatula, grater
kinds D: dessert, appetizer, main course
kinds I: vegetable, allergen, spice
adjectives P: hungry, picky, skilled
adjectives D: spicy, delicious, vegan, crunchy, greasy, salty
adjectives I: ripe, raw, organic, bitter, frozen, fresh
adjectives U: sharp, clean, greasy, stainless
intransitive P: cater
intransitive D: sizzle, simmer
intransitive I: rot, ripen
transitive P>D: cook, order, serve, taste, bake, eat, season
transitive P>I: chop, peel, slice, wash, buy, fry
transitive P>U: have!, wash, heat, use, grab, clean
transitive D>I: contain!, include!, smell of, taste of
participles D: overcooked, seasoned, reheated, garnished
participles I: chopped, peeled, roasted, dried, pickled
participles U: sterilized, greased, rinsed
comparatives D: tastier, spicier, healthier
comparatives I: sweeter, fresher, juicier
comparatives U: hotter, cleaner
relational P>P: apprentice, assistant
relational I>D: ingredient
prepositions P>I: allergic to, fond of
prepositions D>I: topped with, made from
prepositions I>U: in
ditransitive P>D>P: serve to, offer to, recommend to, bring to
ditransitive P>I>D: add to
constants D: Dish 27
constants U: Oven 3
""",
    "farming": """
nouns P: farmer, shepherd, rancher, tractor driver, farmhand, agronomist
nouns A: cow, sheep/sheep, goat, pig, horse, donkey, turkey, duck, rooster, lamb
nouns F: field, pasture, barn, stable, silo, paddock
nouns C: pumpkin, potato/potatoes, cabbage, melon, corn cob, turnip, sunflower, lettuce
nouns M: tractor, plow, harvester, hay baler, sprinkler, seed drill
kinds A: ruminant, farm animal
kinds C: crop, root vegetable
adjectives A: lame, fat, woolly, tame, spotted, muddy
adjectives F: muddy, dry, fertile, fallow, fenced
adjectives C: rotten, ripe, juicy, pesticide-free
adjectives M: rusty, new, powerful, noisy
intransitive A: graze, bleat, kick, eat
intransitive C: sprout, rot, ripen
intransitive M: overheat, jam
transitive P>A: feed, shear!, breed!, own!, herd, sell
transitive P>F: plow, irrigate, fence, rent, fertilize
transitive P>C: harvest, grow, pick, sow!, store
transitive P>M: drive, repair, oil, own!
transitive A>F: graze in, sleep in, leave!, enter
transitive A>C: eat, trample, smell
transitive M>F: cross, damage
participles A: vaccinated, branded, sheared, slaughtered
participles F: plowed, flooded, drained, irrigated
participles C: harvested, sprayed, planted, sold
participles M: leased, greased, repaired
comparatives A: fatter, slower, tamer
comparatives F: drier, wider, more fertile
comparatives C: riper, heavier
comparatives M: newer, more powerful
relational P>F: owner, heir
prepositions A>F: in, near
prepositions F>F: adjacent to, east of
ditransitive P>A>P: sell to, show to, give to
ditransitive P>C>A: feed to, throw to
constants A: Bella, Misty
constants F: Field 8, North Barn
""",
    "travel": """
nouns P: tourist, traveler, pilot, flight attendant, backpacker, hotel clerk, customs officer, tour operator
nouns H: hotel, hostel, campsite, resort, guesthouse, airport, terminal
nouns Q: swimming pool, lobby, sauna, rooftop bar, gift shop
adjectives Q: heated, elegant, public, underground
nouns B: suitcase, passport, backpack, visa, boarding pass/boarding passes, itinerary/itineraries
nouns B: travel adapter
nouns F: flight, excursion, road trip, bus tour, vacation, layover
kinds P: frequent flyer, adventurer
kinds H: landmark
adjectives P: stranded, jet-lagged, adventurous, lost
adjectives H: luxurious, affordable, isolated, noisy, family-friendly
adjectives B: heavy, valid, fake, leather, missing
adjectives F: direct, exhausting, overnight, expensive, delayed
intransitive P: hitchhike, wander, travel, sunbathe
intransitive F: depart
transitive P>H: review, stay at, photograph, leave!, recommend, arrive at
transitive P>B: pack, lose, carry, misplace, renew, forget
transitive P>F: book, miss, enjoy, cancel, complain about
transitive F>L: pass over, end in, start in
transitive H>Q: have!, advertise, lack!
transitive P>Q: enjoy, use, clean, look for
transitive H>P: welcome, overcharge, refund
participles P: detained, searched, deported
participles H: booked, renovated, evacuated
participles B: scanned, confiscated, packed, renewed
participles F: delayed, overbooked, refunded
comparatives H: cheaper, cleaner, more luxurious
comparatives B: heavier, smaller
comparatives F: shorter, more relaxing
relational P>H: guest
relational P>B: owner
prepositions H>L: in, close to
prepositions P>F: on, ready for
prepositions B>B: inside, attached to
ditransitive P>B>P: show to, hand to, lend to, return to
constants H: Hotel Mira, Gate 22
constants F: Flight 606
""",
    "robotics": """
nouns R: robot, drone, chatbot, android, rover, exoskeleton, robot arm
nouns D: sensor, camera, battery/batteries, motor, microchip, antenna, touchscreen, gripper, circuit board
nouns P: engineer, inventor, technician, operator, researcher
nouns K: prototype, blueprint, simulation, patent, demonstration
kinds R: machine, autonomous vehicle
kinds D: spare part, component
adjectives R: autonomous, waterproof, humanoid, intelligent, remote-controlled
adjectives D: wireless, faulty, miniature, rechargeable, sensitive
adjectives K: promising, flawed, realistic, groundbreaking
intransitive R: walk, malfunction, recharge, learn, hover
intransitive D: overheat, break, vibrate
abilities R: fly, swim, recognize faces, open doors, speak, jump
transitive R>R: detect, follow, imitate, collide with, communicate with, assist
transitive R>D: have!, use, contain!, lose
transitive P>R: build, program, control, test, dismantle, talk to
transitive P>D: design, install, calibrate, replace, order
transitive P>K: present, develop, publish, sell, improve
transitive R>P: obey, recognize, assist, warn, respond to
transitive D>D: power, overheat!, replace, connect to
participles R: activated, programmed, dismantled, upgraded
participles D: calibrated, shielded, soldered, charged
participles K: patented, funded, abandoned
comparatives R: smarter, quicker, more precise
comparatives D: smaller, more sensitive
comparatives K: more ambitious, simpler
relational P>R: creator, operator
relational P>K: inventor, sponsor
prepositions D>R: in, attached to, essential for
prepositions R>R: similar to, identical to
ditransitive P>D>R: attach to, add to
ditransitive R>D>P: bring to, hand to
constants R: Robo Max, Drone 5, Ziggy
constants D: Sensor 19
""",
    "social life": """
nouns P: guest, host, bachelor, poet, blogger, comedian, photographer, waitress/waitresses, dancer
nouns P: celebrity/celebrities
nouns P: guitarist
nouns E: party/parties, barbecue, festival, dinner, meeting, karaoke night
nouns S: song, joke, poem, rumor, secret, story/stories, anecdote, blog post
nouns C: guitar, hat, umbrella, necklace, jacket, scooter, smartphone
kinds P: extrovert, musician, artist
adjectives P: popular, lonely, witty, charming, rude, shy
adjectives E: lively, formal, loud, annual, boring
adjectives S: funny, true, sad, famous, offensive, romantic
adjectives C: stylish, vintage, expensive, purple, borrowed
intransitive P: gossip, flirt, sing, mingle, joke
intransitive E: begin!, last
transitive P>P: invite, greet, ignore, insult, tease, kiss, forgive, date, gossip about, dance with
transitive P>E: attend, host, leave!, enjoy, photograph, dress up for
transitive P>S: tell, know, repeat, love, write, share, believe
transitive P>C: have!, wear, own!, buy, lose, borrow, carry
transitive S>P: amuse, offend, inspire, bore
participles P: invited, uninvited, embarrassed, flattered
participles E: catered, crowded, cancelled
participles S: recorded, censored, translated
participles C: stolen, customized, gift-wrapped
comparatives P: funnier, more popular, louder
comparatives E: livelier, more formal
comparatives S: sadder, more famous
comparatives C: fancier, cheaper
relational P>P: admirer, best friend, acquaintance
relational P>S: author
prepositions P>E: at, absent from
prepositions P>S: tired of
prepositions S>P: about
ditransitive P>S>P: tell to, dedicate to, send to
ditransitive P>C>P: lend to, give to, show to
constants E: Summer Fest, Gala 2024
constants S: Blue Tango
""",
    "chemistry": """
nouns S: acid, solvent, alloy, catalyst, metal, polymer, enzyme, isotope, salt, gas/gases, oxide
nouns V: beaker, flask, test tube, burner, pipette, fume hood, centrifuge
nouns P: chemist, lab assistant, toxicologist, student, safety officer
nouns R: reaction, experiment, titration, synthesis/syntheses, analysis/analyses
kinds S: compound, chemical, conducting material
adjectives S: flammable, soluble, corrosive, radioactive, magnetic, toxic, colorless, inert, volatile
adjectives V: sterile, transparent, cracked, fragile, calibrated
adjectives R: exothermic, reversible, rapid, dangerous, spontaneous
intransitive S: evaporate, dissolve, corrode, oxidize, melt, crystallize
intransitive R: succeed, fail, stabilize
abilities S: burn, conduct electricity, dissolve in water
transitive S>S: react with, dissolve, neutralize, bond with, contain!, oxidize
transitive S>R: accelerate, inhibit, trigger, slow down!
transitive P>S: synthesize, analyze, weigh, dilute, label, store
transitive P>V: rinse, heat, break, fill, handle
transitive P>R: perform, observe, repeat, document, design
transitive V>S: contain!, hold
transitive R>S: produce, consume, require, release
participles S: purified, diluted, labeled, distilled, contaminated
participles V: sealed, sterilized, heated, shattered
participles R: catalyzed, replicated, supervised
comparatives S: denser, more reactive, lighter, more acidic
comparatives V: larger, cleaner
comparatives R: slower, more violent
prepositions S>S: soluble in, heavier than
prepositions S>V: in
prepositions R>S: sensitive to
ditransitive P>S>P: hand to, show to
ditransitive P>S>V: pour into, add to, put in
constants S: Helium, Copper, Sodium, Compound X
constants V: Beaker 6
""",
    "energy": """
nouns D: generator, turbine, solar panel, transformer, magnet, laser, reactor, fuse, capacitor, light bulb
nouns W: power plant, wind farm, dam, power grid, substation, refinery/refineries
nouns P: physicist, technician, inspector, engineer, grid operator
nouns M: particle, electron, photon, ion, neutron, quark
kinds M: fermion, charged particle
kinds D: energy source, electrical device
adjectives D: efficient, overheated, superconducting, portable, defective, silent
adjectives W: renewable, nuclear, coastal, obsolete, coal-fired
adjectives M: massless, stable, unstable, neutral, relativistic
intransitive D: overheat, hum, rotate, spark, fail
intransitive M: decay, oscillate, collide, accelerate
intransitive W: pollute
transitive D>D: power, overload, charge, cool
transitive W>D: contain!, need!, operate
transitive W>L: supply, pollute, power
transitive P>D: test, inspect, invent!, switch off!, switch on!, repair
transitive P>W: inspect, manage, design, shut down!, protest against
transitive P>M: study, detect, measure, observe
transitive M>M: attract, repel!, interact with, scatter
participles D: grounded, overloaded, insulated, disconnected
participles W: decommissioned, subsidized, inspected, modernized
participles M: accelerated, absorbed, emitted, trapped
comparatives D: hotter, brighter, more efficient
comparatives W: cleaner, larger, more productive
comparatives M: heavier, slower
prepositions D>D: connected to, powered by
prepositions D>W: in, inside
prepositions W>L: near, in
ditransitive W>D>W: lend to, transfer to
ditransitive P>D>P: demonstrate to, sell to
constants D: Turbine 11, Reactor 2
constants W: Plant Delta
""",
    "construction": """
nouns P: carpenter, mason, welder, crane operator, surveyor, foreman/foremen, roofer, contractor
nouns P: bricklayer, painter
nouns B: bridge, tunnel, skyscraper, warehouse, dam, parking lot, stadium, chapel, tower
nouns Q: entrance, elevator, chimney, staircase, fire exit, basement
adjectives Q: hidden, steep, unsafe, sealed
nouns T: hammer, drill, chainsaw, ladder, bulldozer, cement mixer, crane, wrench/wrenches, screwdriver
nouns M: brick, beam, tile, plank, pipe, roof panel, steel bar
kinds B: public building
kinds T: power tool, hand tool
adjectives B: unstable, unfinished, towering, fireproof, historic, earthquake-resistant
adjectives T: sharp, dangerous, blunt, hydraulic
adjectives M: hollow, solid, cracked, thick
intransitive P: weld, dig, hammer
intransitive B: collapse, sway
intransitive M: bend, crack, corrode
transitive P>B: build, demolish, design, inspect, enter, restore
transitive P>T: operate, lend, sharpen, drop, use, rent
transitive P>M: cut, lay!, measure, carry, stack, glue
transitive T>M: break, lift, bend, damage
transitive B>M: contain!, require!
transitive B>Q: have!
transitive P>Q: block, use, build, lock
transitive M>M: support, touch, rest on, lean against
participles B: demolished, inspected, condemned, reinforced, insulated
participles T: sharpened, leased, oiled, misplaced
participles M: painted, welded, galvanized, recycled
comparatives B: taller, wider, more stable
comparatives T: heavier, sharper, more dangerous
comparatives M: thicker, harder, longer
relational P>B: builder, designer
relational P>P: apprentice, boss
prepositions M>M: under, above, parallel to
prepositions T>B: in, behind
prepositions P>T: skilled with
ditransitive P>T>P: hand to, lend to, pass to, rent to
ditransitive P>M>B: deliver to, carry to
constants B: Iron Bridge, Tunnel 5
constants T: Crane 2
""",
    "government": """
nouns P: senator, minister, mayor, ambassador, voter, diplomat, governor, lobbyist, civil servant
nouns P: refugee, spy/spies
nouns G: ministry/ministries, embassy/embassies, committee, parliament
nouns G: political party/political parties, council
nouns B: bill, tax, election, veto/vetoes, referendum, reform, subsidy/subsidies, petition
nouns N: broadcaster, journalist association, charity/charities, labor union, think tank
kinds P: candidate, incumbent, resident, citizen, pacifist
adjectives P: elected, conservative, liberal, influential, exiled
adjectives G: corrupt, democratic, independent, transparent
adjectives B: controversial, progressive, unpopular, fair, costly
adjectives N: nonprofit, partisan, influential, wealthy
intransitive P: vote, abstain, campaign, protest
intransitive GN: dissolve, convene
transitive P>P: appoint, elect, bribe, endorse, vote for, lobby, negotiate with
transitive P>B: oppose, support, propose, sign, vote against, block
transitive P>G: lead, criticize, belong to, reform, betray
transitive G>B: ratify, debate, reject, impose, veto
transitive G>P: invite, employ, investigate, expel!
transitive N>GB: criticize, endorse, report on, support
participles P: elected, impeached, naturalized, bribed
participles B: ratified, vetoed, amended, proposed
participles G: reformed, dissolved, abolished
participles N: funded, subsidized, censored
comparatives P: more powerful, more honest
comparatives B: fairer, more controversial
comparatives G: more transparent, larger
comparatives N: more influential, poorer
relational P>G: member, spokesperson
relational P>P: adviser, successor, deputy
prepositions P>B: opposed to, worried about
prepositions G>B: responsible for
ditransitive P>B>G: propose to, present to, submit to
ditransitive G>B>P: explain to
constants G: Ministry 2, Party Verde
constants B: Bill 52, Tax 9
""",
    "vehicles": """
nouns P: mechanic, motorist, truck driver, cyclist, pedestrian, taxi driver, traffic warden
nouns P: driving instructor
nouns V: car, truck, motorcycle, van, ambulance, fire engine, minibus/minibuses, bicycle, limousine, tanker
nouns A: engine, tire, airbag, windshield, headlight, seat belt, gearbox/gearboxes, exhaust pipe
nouns R: highway, roundabout, intersection, driveway, gas station, parking garage, toll road
kinds V: hybrid, company vehicle
adjectives P: sober, reckless, distracted, licensed
adjectives V: electric, red, secondhand, armored, roadworthy, diesel-powered
adjectives A: defective, spare, oily
adjectives R: slippery, icy, narrow, congested
intransitive P: speed, swerve, brake, honk
intransitive V: skid, accelerate, stall, backfire
intransitive A: leak, rattle, wear out
transitive P>V: drive, park, wash, rent, sell, steal
transitive P>A: replace, inspect, clean, order, remove
transitive P>R: cross, avoid, block, use, turn onto
transitive V>V: overtake, hit!, tow, follow, crash into
transitive V>A: have!, need!
transitive V>R: block, leave!, enter, use, stop at
transitive P>P: pass, fine, yield to, honk at
participles P: ticketed, fined, insured, breathalyzed
participles V: parked, insured, registered, stolen, towed
participles A: replaced, worn out, cracked
participles R: paved, closed, flooded
comparatives V: faster, safer, more economical, slower
comparatives A: newer, cheaper
comparatives R: wider, busier
relational P>V: owner, buyer
prepositions V>R: on, near
prepositions P>V: in, behind
prepositions R>R: parallel to, south of
ditransitive P>V>P: sell to, rent to, lend to
ditransitive P>A>P: sell to, show to
constants V: Car 54, Van 8
constants R: Route 66, Highway 3
""",
    "environment": """
nouns P: meteorologist, activist, fisherman/fishermen, firefighter, ecologist, hiker, resident, forester
nouns W: hurricane, blizzard, flood, drought, tornado/tornadoes, heat wave, thunderstorm, wildfire
nouns N: glacier, wetland, desert, valley, coral reef, rainforest, beach/beaches, estuary/estuaries
nouns F: factory/factories, landfill, oil company/oil companies, recycling plant, sewer, mine
nouns S: species/species, fish/fish, frog, turtle, whale, seal, salmon/salmon
kinds W: natural disaster, emergency/emergencies
kinds N: ecosystem, nature reserve
kinds S: amphibian, invasive species
adjectives W: violent, sudden, devastating, seasonal, unpredictable
adjectives N: arid, pristine, fragile, polluted, uninhabited
adjectives F: toxic, carbon-neutral, illegal, abandoned
adjectives S: extinct, rare, aquatic, migratory, venomous
intransitive W: intensify, subside, approach, pass
intransitive N: shrink!, erode, recover
intransitive S: reproduce, migrate, adapt
transitive P>W: predict, survive, fear, study, prepare for
transitive P>N: protect, explore, visit, restore, photograph
transitive P>F: sue, oppose, inspect, protest against
transitive W>N: destroy, flood, reshape, threaten
transitive W>L: hit!, devastate, bypass, move toward
transitive F>N: pollute, contaminate, endanger
transitive S>N: inhabit, depend on, live in, leave!
transitive S>S: eat, outcompete, prey on, coexist with
transitive F>S: poison, harm, threaten
participles P: evacuated, rescued, warned
participles W: forecast, recorded
participles N: protected, contaminated, deforested, restored
participles F: fined, shut down, relocated, inspected
participles S: reintroduced, overfished, relocated
comparatives W: stronger, more destructive
comparatives N: drier, colder, more diverse
comparatives F: dirtier, more harmful
comparatives S: rarer, larger, more resilient
prepositions N>L: near, in
prepositions S>N: in, native to
prepositions P>W: afraid of, aware of
prepositions F>N: near, harmful to
ditransitive P>S>N: return to, introduce to
constants W: Hurricane Iris, Storm Bert
constants N: Sable Beach, Amber Valley
constants F: Factory 13, Petrox
""",
}


@dataclass(frozen=True)
class Noun:
    """A count noun with its predicate, `wolf`, `wolves`, `Wolf`."""

    singular: str
    plural: str
    predicate: str
    sort: str


@dataclass(frozen=True)
class Quality:
    """What follows "is": an adjective or a participle (`approved`, `Approved`)."""

    text: str
    predicate: str
    sort: str


@dataclass(frozen=True)
class Verb:
    """A verb, its preposition in `tail` ("depends on" has tail "on"); `object` is "" when intransitive."""

    base: str
    third: str
    past: str
    participle: str
    tail: str
    passive: bool
    predicate: str
    subject: str
    object: str


@dataclass(frozen=True)
class Relation:
    """What follows "is" and takes an object: "taller than", "in", "the owner of" (with `noun`, `nouns`)."""

    text: str
    predicate: str
    subject: str
    object: str
    noun: str = ""
    nouns: str = ""


@dataclass(frozen=True)
class Ditransitive:
    """A verb with two objects, "gives y to z"; `other` is the sort of z."""

    verb: Verb
    preposition: str
    other: str


@dataclass(frozen=True)
class Constant:
    """A name and how it stands in a formula, `Room 12` and `room12`; `pronoun` is she, he or it."""

    text: str
    name: str
    sort: str
    pronoun: str


@dataclass
class Domain:
    """All words of one field, read from its text block and `COMMON`."""

    name: str
    nouns: list[Noun] = field(default_factory=list)
    kinds: list[Noun] = field(default_factory=list)
    adjectives: list[Quality] = field(default_factory=list)
    participles: list[Quality] = field(default_factory=list)
    intransitive: list[Verb] = field(default_factory=list)
    abilities: list[Verb] = field(default_factory=list)
    transitive: list[Verb] = field(default_factory=list)
    comparatives: list[Relation] = field(default_factory=list)
    prepositions: list[Relation] = field(default_factory=list)
    relational: list[Relation] = field(default_factory=list)
    ditransitive: list[Ditransitive] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)


def predicate_name(words: str) -> str:
    """`tour operator` -> `TourOperator`, `left-handed` -> `LeftHanded`."""
    return "".join(word[0].upper() + word[1:] for word in words.replace("-", " ").split())


def constant_name(words: str) -> str:
    """`New York` -> `newYork`, `Room 12` -> `room12`."""
    name = predicate_name(words)
    return name[0].lower() + name[1:]


def plural_of(noun: str) -> str:
    """Regular plural; irregular ones are written out in the lists."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "es" if noun.endswith(("s", "x", "ch", "sh", "z")) else noun + "s"


def third_person(base: str) -> str:
    """`carry` -> `carries`, `watch` -> `watches`."""
    if base == "have":
        return "has"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    if base.endswith(("s", "x", "ch", "sh", "zz", "o")):
        return base + "es"
    return base + "s"


def past_of(base: str) -> tuple[str, str]:
    """Past and participle of a base form."""
    if base in IRREGULAR:
        return IRREGULAR[base]
    if base in DOUBLING:
        regular = base + base[-1] + "ed"
    elif base.endswith("e"):
        regular = base + "d"
    elif base.endswith("y") and base[-2] not in "aeiou":
        regular = base[:-1] + "ied"
    else:
        regular = base + "ed"
    return regular, regular


def verb(entry: str, subject: str, object_: str = "") -> Verb:
    """Read `depend on` or `own!` (no passive) into a verb."""
    entry, bang, _ = entry.partition("!")
    base, _, tail = entry.partition(" ")
    past, participle = past_of(base)
    third = third_person(base)
    passive = bool(object_) and not bang and not tail
    return Verb(
        base, third, past, participle, tail, passive, predicate_name(f"{third} {tail}"), subject, object_
    )


def noun(entry: str, sort: str) -> Noun:
    """Read `wolf/wolves` or `kettle` into a noun."""
    singular, _, plural = entry.partition("/")
    return Noun(singular, plural or plural_of(singular), predicate_name(singular), sort)


def items(text: str) -> list[str]:
    """The comma-separated entries of a list, without the white space around them."""
    return [entry.strip() for entry in text.split(",")]


def names(sort: str) -> list[Constant]:
    """The constants that every domain shares: people and places."""
    if sort == "P":
        people = [("she", name) for name in items(FEMALE_NAMES)]
        people += [("he", name) for name in items(MALE_NAMES)]
        return [Constant(name, constant_name(name), "P", pronoun) for pronoun, name in people]
    return [Constant(place, constant_name(place), "L", "it") for place in items(PLACES)]


def read_line(domain: Domain, line: str) -> None:
    """Add one `kind sorts: words` line to the domain."""
    head, _, tail = line.partition(":")
    kind, sorts = head.split()
    entries = items(tail)
    first, *rest = sorts.split(">")
    pairs = [(subject, object_) for subject in first for object_ in (rest[0] if rest else "-")]
    for subject, object_ in pairs:
        for entry in entries:
            if kind == "nouns":
                domain.nouns.append(noun(entry, subject))
            elif kind == "kinds":
                domain.kinds.append(noun(entry, subject))
            elif kind in ("adjectives", "participles"):
                getattr(domain, kind).append(Quality(entry, predicate_name(entry), subject))
            elif kind in ("intransitive", "abilities"):
                getattr(domain, kind).append(verb(entry.partition("/")[0], subject))
            elif kind == "transitive":
                domain.transitive.append(verb(entry, subject, object_))
            elif kind == "comparatives":
                domain.comparatives.append(
                    Relation(f"{entry} than", predicate_name(f"{entry} than"), subject, subject)
                )
            elif kind == "prepositions":
                domain.prepositions.append(Relation(entry, predicate_name(entry), subject, object_))
            elif kind == "relational":
                owner = noun(entry, subject)
                name, of = predicate_name(f"{owner.singular} of"), f"the {owner.singular} of"
                domain.relational.append(Relation(of, name, subject, object_, owner.singular, owner.plural))
            elif kind == "ditransitive":
                base, _, preposition = entry.partition(" ")
                domain.ditransitive.append(Ditransitive(verb(base, subject, object_), preposition, rest[1]))
            elif kind == "constants":
                domain.constants.append(Constant(entry, constant_name(entry), subject, "it"))
            else:
                raise ValueError(f"unknown word list {kind!r} in {line!r}; use a field of Domain")


def read_domain(name: str) -> Domain:
    """The domain's own words, each list before the common ones."""
    domain = Domain(name)
    for line in (DOMAINS[name] + COMMON).strip().splitlines():
        if line:
            read_line(domain, line)
    domain.constants += names("P") + names("L")
    return domain


def common_predicates() -> frozenset[str]:
    """Predicates of the words in `COMMON`, which every domain has and should not drown its own."""
    domain = Domain("common")
    for line in COMMON.strip().splitlines():
        read_line(domain, line)
    words: list[Noun | Quality | Verb | Relation] = [*domain.nouns, *domain.kinds, *domain.adjectives]
    words += [*domain.intransitive, *domain.abilities, *domain.transitive]
    words += [*domain.comparatives, *domain.prepositions, *domain.relational]
    return frozenset(word.predicate for word in words)
