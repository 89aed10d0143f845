"""What anatomy and findings are called in Chinese, by SNOMED CT code (those of PS3.16 that models mark most)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ANATOMY_ZH: Final[Mapping[str, str]] = MappingProxyType({
    "818981001": "腹部",  # Abdomen
    "7832008": "腹主动脉",  # Abdominal aorta
    "263654008": "异常",  # Abnormal
    "44132006": "脓肿",  # Abscess
    "23451007": "肾上腺",  # Adrenal gland
    "4958002": "杏仁核",  # Amygdala
    "91723000": "解剖结构",  # Anatomical Structure
    "85659009": "动脉瘤",  # aneurysm
    "15825003": "主动脉",  # Aorta
    "57034009": "主动脉弓",  # Aortic arch
    "66754008": "阑尾",  # Appendix
    "51114001": "动脉",  # Artery
    "54247002": "升主动脉",  # Ascending aorta
    "51440002": "双侧",  # Bilateral
    "89837001": "膀胱",  # Bladder
    "59820001": "血管",  # Blood Vessel
    "272673000": "骨",  # Bone
    "3138006": "骨",  # Bone
    "14016003": "骨髓",  # Bone Marrow
    "94222008": "骨转移瘤",  # Bony metastasis
    "12691009": "头臂干",  # brachiocephalic trunk
    "8887007": "头臂静脉",  # Brachiocephalic vein
    "12738006": "脑",  # Brain
    "119238007": "脑干",  # Brain Stem
    "35764002": "脑室",  # Brain ventricle
    "76752008": "乳腺",  # Breast
    "955009": "支气管",  # Bronchus
    "14806007": "第1颈椎",  # C1 vertebra
    "39976000": "第2颈椎",  # C2 vertebra
    "113205007": "第3颈椎",  # C3 vertebra
    "5329002": "第4颈椎",  # C4 vertebra
    "36978003": "第5颈椎",  # C5 vertebra
    "36054005": "第6颈椎",  # C6 vertebra
    "87391001": "第7颈椎",  # C7 vertebra
    "69105007": "颈动脉",  # Carotid Artery
    "309312004": "软骨",  # Cartilage
    "11000004": "尾状核",  # Caudate Nucleus
    "113305005": "小脑",  # Cerebellum
    "40146001": "大脑皮质",  # Cerebral cortex
    "372073000": "大脑半球",  # Cerebral hemisphere
    "68523003": "大脑白质",  # Cerebral White Matter
    "65216001": "脑脊液",  # Cerebrospinal Fluid
    "230690007": "脑卒中",  # Cerebrovascular accident
    "816094009": "胸部",  # Chest
    "51299004": "锁骨",  # Clavicle
    "71854001": "结肠",  # Colon
    "32062004": "颈总动脉",  # Common carotid artery
    "73634005": "髂总动脉",  # Common iliac artery
    "46027005": "髂总静脉",  # Common iliac vein
    "41801008": "冠状动脉",  # Coronary artery
    "88442005": "胼胝体",  # Corpus callosum
    "367643001": "囊肿",  # Cyst
    "281130003": "降主动脉",  # Descending aorta
    "32672002": "降主动脉",  # Descending aorta
    "38848004": "十二指肠",  # Duodenum
    "79654002": "水肿",  # Edema
    "55584005": "栓子",  # Embolus
    "32849002": "食管",  # Esophagus
    "81745001": "眼",  # Eye
    "79652003": "眼球",  # Eyeball
    "89545001": "面部",  # Face
    "55603005": "脂肪",  # Fat
    "256674009": "脂肪",  # Fat
    "71341001": "股骨",  # Femur
    "87342007": "腓骨",  # Fibula
    "35918002": "第四脑室",  # Fourth Ventricle
    "83251001": "额叶",  # Frontal lobe
    "28231008": "胆囊",  # Gallbladder
    "14738005": "苍白球",  # Globus Pallidus
    "389081007": "灰质",  # Gray Matter
    "69536005": "头部",  # Head
    "80891009": "心脏",  # Heart
    "35566002": "血肿",  # Hematoma
    "50960005": "出血",  # Hemorrhage
    "8993003": "肝静脉",  # Hepatic vein
    "29836001": "髋",  # Hip
    "5366008": "海马",  # Hippocampus
    "85050009": "肱骨",  # Humerus
    "10293006": "髂动脉",  # Iliac artery
    "244411005": "髂静脉",  # Iliac vein
    "64131007": "下腔静脉",  # Inferior vena cava
    "409774005": "炎症",  # Inflammation
    "36169008": "岛叶",  # Insula
    "86117002": "颈内动脉",  # Internal carotid artery
    "64033007": "肾",  # Kidney
    "66794005": "第1腰椎",  # L1 vertebra
    "14293000": "第2腰椎",  # L2 vertebra
    "36470004": "第3腰椎",  # L3 vertebra
    "11994002": "第4腰椎",  # L4 vertebra
    "49668003": "第5腰椎",  # L5 vertebra
    "14742008": "大肠",  # Large intestine
    "66720007": "侧脑室",  # Lateral Ventricle
    "82471001": "左心房",  # Left atrium
    "33626005": "左心耳",  # Left auricular appendage
    "87878005": "左心室",  # Left ventricle
    "49848007": "左心室心肌",  # Left ventricle myocardium
    "78076003": "晶状体",  # Lens
    "52988006": "病灶",  # Lesion
    "10200004": "肝",  # Liver
    "31094006": "肺叶",  # Lobe of lung
    "41224006": "左肺下叶",  # Lower lobe of left lung
    "90572001": "肺下叶",  # Lower lobe of lung
    "266005": "右肺下叶",  # Lower lobe of right lung
    "39607008": "肺",  # Lung
    "93880001": "肺癌",  # Lung cancer
    "59441001": "淋巴结",  # Lymph Node
    "91609006": "下颌骨",  # Mandible
    "4147007": "肿块",  # Mass
    "70925003": "上颌骨",  # Maxilla
    "72410000": "纵隔",  # Mediastinum
    "128462008": "转移瘤",  # Metastasis
    "61962009": "中脑",  # Midbrain
    "72481006": "右肺中叶",  # Middle lobe of right lung
    "49755003": "形态异常结构",  # Morphologically Abnormal Structure
    "71616004": "肌肉",  # Muscle
    "91727004": "肌肉",  # Muscle
    "22298006": "心肌梗死",  # Myocardial infarction
    "45048000": "颈部",  # Neck
    "6574001": "坏死",  # Necrosis
    "108369006": "肿瘤",  # Neoplasm
    "14799000": "转移瘤",  # Neoplasm, metastatic
    "372087000": "原发肿瘤",  # Neoplasm, Primary
    "27925004": "结节",  # Nodule
    "17621005": "正常",  # Normal
    "31065004": "枕叶",  # Occipital lobe
    "244453006": "视交叉",  # Optic chiasm
    "18234004": "视神经",  # optic nerve
    "15497006": "卵巢",  # Ovary
    "15776009": "胰腺",  # Pancreas
    "16630005": "顶叶",  # Parietal lobe
    "45289007": "腮腺",  # Parotid gland
    "64234005": "髌骨",  # Patella
    "118645006": "骨盆",  # Pelvis
    "816092008": "骨盆",  # Pelvis
    "76848001": "心包",  # Pericardium
    "56329008": "垂体",  # Pituitary
    "3120008": "胸膜",  # Pleura
    "60046008": "胸腔积液",  # Pleural effusion
    "36118008": "气胸",  # Pneumothorax
    "32764006": "门静脉",  # Portal vein
    "41216001": "前列腺",  # Prostate
    "81040000": "肺动脉",  # Pulmonary artery
    "94391008": "肺转移瘤",  # Pulmonary metastasis
    "122972007": "肺静脉",  # Pulmonary vein
    "430757002": "肺静脉",  # Pulmonary Vein
    "89278009": "壳核",  # Putamen
    "62413002": "桡骨",  # Radius
    "34402009": "直肠",  # Rectum
    "113197003": "肋骨",  # Rib
    "73829009": "右心房",  # Right atrium
    "68300000": "右心耳",  # Right auricular appendage
    "53085002": "右心室",  # Right ventricle
    "54735007": "骶骨",  # Sacrum
    "79601000": "肩胛骨",  # Scapula
    "127954009": "骨骼肌",  # Skeletal muscle
    "39937001": "皮肤",  # Skin
    "89546000": "颅骨",  # Skull
    "30315005": "小肠",  # Small intestine
    "2748008": "脊髓",  # Spinal cord
    "78961009": "脾",  # Spleen
    "35819009": "脾静脉",  # Splenic vein
    "56873002": "胸骨",  # Sternum
    "69695003": "胃",  # Stomach
    "36765005": "锁骨下动脉",  # Subclavian artery
    "54019009": "下颌下腺",  # Submandibular gland
    "48345005": "上腔静脉",  # Superior vena cava
    "64864005": "第1胸椎",  # T1 vertebra
    "7610001": "第10胸椎",  # T10 vertebra
    "12989004": "第11胸椎",  # T11 vertebra
    "23215003": "第12胸椎",  # T12 vertebra
    "53733008": "第2胸椎",  # T2 vertebra
    "1626008": "第3胸椎",  # T3 vertebra
    "73071006": "第4胸椎",  # T4 vertebra
    "56401006": "第5胸椎",  # T5 vertebra
    "45296009": "第6胸椎",  # T6 vertebra
    "62487009": "第7胸椎",  # T7 vertebra
    "11068009": "第8胸椎",  # T8 vertebra
    "82687006": "第9胸椎",  # T9 vertebra
    "78277001": "颞叶",  # Temporal lobe
    "40689003": "睾丸",  # Testis
    "42695009": "丘脑",  # Thalamus
    "119406000": "丘脑",  # Thalamus
    "49841001": "第三脑室",  # Third ventricle
    "113262008": "胸主动脉",  # Thoracic aorta
    "396339007": "血栓",  # Thrombus
    "9875009": "胸腺",  # Thymus
    "69748006": "甲状腺",  # Thyroid
    "237495005": "甲状腺结节",  # Thyroid nodule
    "12611008": "胫骨",  # Tibia
    "85756007": "组织",  # Tissue
    "38199008": "牙",  # Tooth
    "44567001": "气管",  # Trachea
    "23416004": "尺骨",  # Ulna
    "66459002": "单侧",  # Unilateral
    "44714003": "左肺上叶",  # Upper lobe of left lung
    "45653009": "肺上叶",  # Upper lobe of lung
    "42400003": "右肺上叶",  # Upper lobe of right lung
    "35039007": "子宫",  # Uterus
    "29092000": "静脉",  # Vein
    "51282000": "椎骨",  # Vertebra
    "389080008": "白质",  # White Matter
})
